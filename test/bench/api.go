package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const benchNamespace = "skiff-bench"

// clientFor makes a client with a connection of its own, protobuf unless told
// otherwise.
func clientFor(kubeconfig, contentType string) (kubernetes.Interface, error) {
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

type load struct {
	t       *table
	clients []kubernetes.Interface
	pids    []int
	n       int
}

// benchAPI measures the API alone: pods that nothing schedules.
func benchAPI(ctx context.Context, t *table, o *options, kubeconfig string, pids []int) error {
	l := &load{t: t, pids: pids, n: o.n}
	for range o.clients {
		c, err := clientFor(kubeconfig, "")
		if err != nil {
			return err
		}
		l.clients = append(l.clients, c)
	}
	c := l.clients[0]
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: benchNamespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	defer func() {
		_ = c.CoreV1().Namespaces().Delete(context.Background(), benchNamespace, metav1.DeleteOptions{})
	}()
	for _, part := range []func(context.Context) error{l.oneWriter, l.create, l.get, l.list, l.label, l.watch, l.apply, l.deleteAll} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measure runs op n times over the clients and prints rate and server CPU.
func (l *load) measure(ctx context.Context, what string, n int, cpu, rate float64, op func(ctx context.Context, c kubernetes.Interface, i int) error) error {
	before, err := cpuTime(l.pids)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := l.spread(ctx, n, op); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(begin)
	after, err := cpuTime(l.pids)
	if err != nil {
		return err
	}
	if len(l.pids) > 0 {
		l.t.row(what+", server CPU", float64(after-before)/float64(time.Millisecond)/float64(n), cpu, "ms", false)
	}
	l.t.row(what, float64(n)/took.Seconds(), rate, "/s", true)
	return nil
}

func (l *load) spread(ctx context.Context, n int, op func(ctx context.Context, c kubernetes.Interface, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, c := range l.clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := op(ctx, c, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func benchPod(i int) *corev1.Pod {
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

// oneWriter takes turns with the bare disk, so that both meet the same neighbours.
func (l *load) oneWriter(ctx context.Context) error {
	disk, err := openBareDisk()
	if err != nil {
		return err
	}
	defer disk.close()
	var times, syncs []time.Duration
	for i := range 200 {
		sync, err := disk.sync()
		if err != nil {
			return err
		}
		syncs = append(syncs, sync)
		begin := time.Now()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("one-%d", i)}, Data: map[string]string{"a": "b"}}
		if _, err := l.clients[0].CoreV1().ConfigMaps(benchNamespace).Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	sync := median(syncs)
	l.t.row("fdatasync of this disk, p50", ms(sync), 0, "ms", false)
	l.t.row("one durable write, one client, p50", ms(median(times)), ms(sync)+0.3, "ms", false)
	return nil
}

func (l *load) create(ctx context.Context) error {
	return l.measure(ctx, "durable pod create", l.n, 0.25, 4000, func(ctx context.Context, c kubernetes.Interface, i int) error {
		_, err := c.CoreV1().Pods(benchNamespace).Create(ctx, benchPod(i), metav1.CreateOptions{})
		return err
	})
}

func (l *load) get(ctx context.Context) error {
	return l.measure(ctx, "GET of a pod", 4*l.n, 0.09, 10000, func(ctx context.Context, c kubernetes.Interface, i int) error {
		_, err := c.CoreV1().Pods(benchNamespace).Get(ctx, fmt.Sprintf("pod-%06d", i%l.n), metav1.GetOptions{})
		return err
	})
}

func (l *load) list(ctx context.Context) error {
	return l.measure(ctx, fmt.Sprintf("LIST of %d pods, protobuf", l.n), 64, 15, 0, func(ctx context.Context, c kubernetes.Interface, _ int) error {
		// The raw answer: decoding it is the client's work.
		raw, err := c.CoreV1().RESTClient().Get().Namespace(benchNamespace).Resource("pods").DoRaw(ctx)
		if err == nil && len(raw) < l.n*100 {
			err = fmt.Errorf("the list has only %d bytes", len(raw))
		}
		return err
	})
}

func (l *load) label(ctx context.Context) error {
	return l.measure(ctx, "LIST by a label that 1 in 50 has", 1000, 1, 0, func(ctx context.Context, c kubernetes.Interface, i int) error {
		_, err := c.CoreV1().RESTClient().Get().Namespace(benchNamespace).Resource("pods").Param("labelSelector", fmt.Sprintf("shard=%d", i%50)).DoRaw(ctx)
		return err
	})
}

// watch counts events that 500 watchers on 8 connections get while others write.
func (l *load) watch(ctx context.Context) error {
	const watchers, writes = 500, 200
	var got atomic.Int64
	done := make(chan struct{})
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i := range watchers {
		w, err := l.clients[i%8].CoreV1().ConfigMaps(benchNamespace).Watch(wctx, metav1.ListOptions{ResourceVersion: "0", LabelSelector: "watched=yes"})
		if err != nil {
			return err
		}
		wg.Go(func() {
			for range w.ResultChan() {
				if got.Add(1) == watchers*writes {
					close(done)
				}
			}
		})
	}
	before, err := cpuTime(l.pids)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = l.spread(ctx, writes, func(ctx context.Context, c kubernetes.Interface, i int) error {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("watched-%d", i), Labels: map[string]string{"watched": "yes"}}}
		_, err := c.CoreV1().ConfigMaps(benchNamespace).Create(ctx, cm, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		return fmt.Errorf("watch: %d of %d events came", got.Load(), watchers*writes)
	}
	took := time.Since(begin)
	after, err := cpuTime(l.pids)
	if err != nil {
		return err
	}
	cancel()
	wg.Wait()
	if len(l.pids) > 0 {
		l.t.row("watch event to one of 500 watchers, server CPU", float64(after-before)/float64(time.Microsecond)/(watchers*writes), 17, "us", false)
	}
	l.t.row("watch events", watchers*writes/took.Seconds(), 75000, "/s", true)
	return nil
}

func (l *load) apply(ctx context.Context) error {
	return l.measure(ctx, "server-side apply", l.n, 0.25, 4000, func(ctx context.Context, c kubernetes.Interface, i int) error {
		body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied-%d"},"data":{"a":"%d","b":"c"}}`, i%100, i)
		_, err := c.CoreV1().ConfigMaps(benchNamespace).Patch(ctx, fmt.Sprintf("applied-%d", i%100), types.ApplyPatchType, []byte(body),
			metav1.PatchOptions{FieldManager: "bench", Force: new(true)})
		return err
	})
}

func (l *load) deleteAll(ctx context.Context) error {
	before, err := cpuTime(l.pids)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := l.clients[0].CoreV1().Pods(benchNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := cpuTime(l.pids)
	if err != nil {
		return err
	}
	if len(l.pids) > 0 {
		l.t.row("delete in a collection, server CPU each", float64(after-before)/float64(time.Millisecond)/float64(l.n), 0.1, "ms", false)
	}
	l.t.row(fmt.Sprintf("delete a collection of %d pods", l.n), took.Seconds(), 1, "s", false)
	return nil
}
