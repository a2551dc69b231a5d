package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"skiff.dev/skiff/store/etcd/member"
)

// pair is two control planes on one etcd.
type pair struct {
	c       [2]*cluster
	clients [2]kubernetes.Interface
	// away tells that a server is killed or starting: what it does not answer counts
	// for nothing.
	away [2]atomic.Bool
}

func startPair(t *testing.T) *pair {
	t.Helper()
	needRoot(t)
	m, err := member.Start(context.Background(), member.Options{
		Dir: t.TempDir(), Name: "a", PeerListen: "127.0.0.1:0", ClientListen: "127.0.0.1:0", Unsafe: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	p := &pair{}
	for i, name := range []string{"one", "two"} {
		c := begin(t, "--disable-node", "--node-name", name, "--datastore", "etcd://"+m.ClientAddress())
		if i == 1 { // of one cluster: one authority, one key of secrets
			if err := os.MkdirAll(filepath.Join(c.data, "pki"), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt", "front-proxy-ca.key", "secrets.json"} {
				raw, err := os.ReadFile(filepath.Join(p.c[0].data, "pki", file))
				if errors.Is(err, os.ErrNotExist) {
					continue
				}
				if err == nil {
					err = os.WriteFile(filepath.Join(c.data, "pki", file), raw, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		must(t)(c.up())
		config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.data, "admin.kubeconfig"))
		if err != nil {
			t.Fatal(err)
		}
		config.QPS = -1
		p.c[i] = c
		if p.clients[i], err = kubernetes.NewForConfig(config); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// follower collects the ConfigMaps that a watch tells of. When its server goes, it
// goes on with the other from the last revision that it has seen.
type follower struct {
	p    *pair
	at   int
	last string
	seen map[string]int // how often each object was told to be new
}

// follow reads until stop is told to exist.
func (f *follower) follow(ctx context.Context, stop string) error {
	for ctx.Err() == nil {
		err := f.session(ctx, stop)
		if err == nil {
			return nil
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return fmt.Errorf("the history from %s on is lost: %w", f.last, err)
		}
		f.at = 1 - f.at
	}
	return ctx.Err()
}

var errServerGone = errors.New("the server has gone")

func (f *follower) session(ctx context.Context, stop string) error {
	w, err := f.p.clients[f.at].CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: f.last, AllowWatchBookmarks: true})
	if err != nil {
		return err
	}
	defer w.Stop()
	for ev := range w.ResultChan() {
		if ev.Type == watch.Error {
			return apierrors.FromObject(ev.Object)
		}
		cm, ok := ev.Object.(*corev1.ConfigMap)
		if !ok {
			return fmt.Errorf("a watch told of a %T", ev.Object)
		}
		if older(cm.ResourceVersion, f.last) {
			return fmt.Errorf("revision %s after %s", cm.ResourceVersion, f.last)
		}
		f.last = cm.ResourceVersion
		if ev.Type == watch.Bookmark {
			continue
		}
		f.seen[cm.Name]++
		if cm.Name == stop {
			return nil
		}
	}
	return errServerGone
}

func older(a, b string) bool {
	x, _ := strconv.ParseInt(a, 10, 64)
	y, _ := strconv.ParseInt(b, 10, 64)
	return x < y
}

// TestTwoServersOnOneEtcd writes through two servers and watches both, while each is
// killed in turn. What was answered is there; each event reaches each watcher once;
// the next read through the other server sees a write; no address and no node port is
// given twice; the controllers of one go on when the other's have gone.
func TestTwoServersOnOneEtcd(t *testing.T) {
	p := startPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	begin, err := p.clients[0].CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const last = "the-last"
	var followers []*follower
	var following sync.WaitGroup
	for i := range 4 {
		f := &follower{p: p, at: i % 2, last: begin.ResourceVersion, seen: map[string]int{}}
		followers = append(followers, f)
		following.Go(func() {
			if err := f.follow(ctx, last); err != nil {
				t.Errorf("watcher %d: %v", i, err)
			}
		})
	}

	writing, endWriting := context.WithCancel(ctx)
	defer endWriting()
	var writers sync.WaitGroup
	var mu sync.Mutex
	answered := map[string]bool{}
	wrote := make(chan struct{}, 1)
	var writes atomic.Int64
	for i := range 8 {
		writers.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				name := fmt.Sprintf("w%d-%d", i, n)
				at := (i + n) % 2
				if p.write(ctx, t, at, name, n%4 == 0) {
					mu.Lock()
					answered[name] = true
					mu.Unlock()
					writes.Add(1)
					select {
					case wrote <- struct{}{}:
					default:
					}
					p.readBack(ctx, t, 1-at, name)
				}
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		for until := writes.Load() + n; writes.Load() < until; {
			select {
			case <-wrote:
			case <-ctx.Done():
				t.Fatalf("only %d writes were answered", writes.Load())
			}
		}
	}
	for kill := range 6 {
		more(150)
		at := kill % 2
		p.away[at].Store(true)
		p.c[at].kill(t)
		more(100) // through the other alone
		must(t)(p.c[at].up())
		p.away[at].Store(false)
	}
	more(150)
	endWriting()
	writers.Wait()
	if _, err := p.clients[1].CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: last}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	following.Wait()
	p.compare(ctx, t, begin, followers, answered)
	p.uniqueNumbers(ctx, t)
	p.takeOver(ctx, t)
	t.Logf("%d writes were answered, 6 kills", writes.Load())
}

// write creates a ConfigMap, and a service of the name with it, and tells whether
// that was answered.
func (p *pair) write(ctx context.Context, t *testing.T, at int, name string, service bool) bool {
	away := p.away[at].Load()
	_, err := p.clients[at].CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err == nil && service {
		_, err = p.clients[at].CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		if err != nil && !away && !p.away[at].Load() {
			t.Errorf("create the service %s: %v", name, err)
		}
		return true
	}
	if err != nil && !away && !p.away[at].Load() && ctx.Err() == nil {
		t.Errorf("create %s: %v", name, err)
	}
	return err == nil
}

// readBack sees through the other server what one has answered.
func (p *pair) readBack(ctx context.Context, t *testing.T, at int, name string) {
	away := p.away[at].Load()
	_, err := p.clients[at].CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err != nil && !away && !p.away[at].Load() && ctx.Err() == nil {
		t.Errorf("read %s through the other server: %v", name, err)
	}
}

// compare holds that both servers have the same, that it is what was answered, and
// that each watcher was told of each object once.
func (p *pair) compare(ctx context.Context, t *testing.T, begin *corev1.ConfigMapList, followers []*follower, answered map[string]bool) {
	t.Helper()
	var there [2]map[string]int
	for i := range there {
		there[i] = map[string]int{}
		list, err := p.clients[i].CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, cm := range list.Items {
			there[i][cm.Name] = 1
		}
	}
	if !maps.Equal(there[0], there[1]) {
		t.Errorf("one server has %d objects, the other %d", len(there[0]), len(there[1]))
	}
	for name := range answered {
		if there[0][name] == 0 {
			t.Errorf("%s was answered and is lost", name)
		}
	}
	for _, cm := range begin.Items {
		delete(there[0], cm.Name)
	}
	for i, f := range followers {
		for name := range there[0] {
			if f.seen[name] != 1 {
				t.Errorf("watcher %d was told %d times of %s", i, f.seen[name], name)
			}
			delete(f.seen, name)
		}
		for name := range f.seen {
			t.Errorf("watcher %d was told of %s, which is not there", i, name)
		}
	}
}

func (p *pair) uniqueNumbers(ctx context.Context, t *testing.T) {
	t.Helper()
	list, err := p.clients[0].CoreV1().Services("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	holder := map[string]string{}
	for _, s := range list.Items {
		for _, what := range []string{s.Spec.ClusterIP, fmt.Sprint("port ", s.Spec.Ports[0].NodePort)} {
			if what == "port 0" {
				continue
			}
			if holder[what] != "" {
				t.Errorf("%s and %s both have %s", holder[what], s.Name, what)
			}
			holder[what] = s.Name
		}
	}
	t.Logf("%d services", len(list.Items))
}

// takeOver kills the server that runs the controllers: the other's do the work.
func (p *pair) takeOver(ctx context.Context, t *testing.T) {
	t.Helper()
	lease, err := p.clients[0].CoordinationV1().Leases("kube-system").Get(ctx, "skiff", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	if *lease.Spec.HolderIdentity != "one_"+p.c[0].instance() {
		at = 1
	}
	p.c[at].kill(t)
	other := p.clients[1-at]
	labels := map[string]string{"app": "x"}
	_, err = other.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.c[1-at].eventually(t, "the other server's controllers make the pod", func() bool {
		list, err := other.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=x"})
		return err == nil && len(list.Items) == 1
	})
}
