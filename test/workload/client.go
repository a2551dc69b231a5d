package workload

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Server is what is loaded: where it is, and the processes that are it.
type Server struct {
	Name       string
	Kubeconfig string
	PIDs       []int
}

// ParsePIDs reads process ids with commas between them.
func ParsePIDs(s string) ([]int, error) {
	var pids []int
	for f := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(f)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%q is not a process id", f)
		}
		pids = append(pids, n)
	}
	return pids, nil
}

// ParseServer reads NAME=KUBECONFIG:PID,PID.
func ParseServer(s string) (Server, error) {
	name, rest, ok := strings.Cut(s, "=")
	at := strings.LastIndexByte(rest, ':')
	if !ok || at < 0 || name == "" {
		return Server{}, fmt.Errorf("%q is not NAME=KUBECONFIG:PID,PID", s)
	}
	pids, err := ParsePIDs(rest[at+1:])
	return Server{Name: name, Kubeconfig: rest[:at], PIDs: pids}, err
}

// Client makes a client with a connection of its own, protobuf unless told
// otherwise.
func Client(kubeconfig, contentType string) (kubernetes.Interface, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = -1, -1
	cfg.ContentType = contentType
	if contentType == "" {
		cfg.ContentType = "application/vnd.kubernetes.protobuf"
		cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	}
	// A dialer of its own keeps client-go from sharing one connection.
	cfg.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	return kubernetes.NewForConfig(cfg)
}

// prepare makes the namespace, and its service account where no controller does.
func prepare(ctx context.Context, c kubernetes.Interface, namespace string) error {
	_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = c.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Pod is a pod that nothing schedules; its label shard has fifty values.
func Pod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("pod-%06d", i),
			Labels: map[string]string{"app": "bench", "shard": fmt.Sprint(i % 50)},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "none",
			Containers: []corev1.Container{{
				Name: "main", Image: "example.com/app:v1",
				Env:   []corev1.EnvVar{{Name: "A", Value: "b"}, {Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}}},
				Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
			}},
		},
	}
}
