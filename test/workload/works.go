package workload

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// oneWriter takes turns with the bare disk, so that both meet the same neighbours.
func (l *Load) oneWriter(ctx context.Context) error {
	disk, err := openBareDisk()
	if err != nil {
		return err
	}
	defer disk.close()
	var times, syncs []time.Duration
	for i := range 500 {
		sync, err := disk.sync()
		if err != nil {
			return err
		}
		syncs = append(syncs, sync)
		begin := time.Now()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("one-%d", i)}, Data: map[string]string{"a": "b"}}
		if _, err := l.clients[0].CoreV1().ConfigMaps(l.space).Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	sync := MS(Median(syncs))
	l.report(Figure{"fdatasync of this disk, p50", sync, 0, "ms", false})
	l.report(Figure{"one durable write, one client, p50", MS(Median(times)), sync + 0.3, "ms", false})
	return nil
}

func (l *Load) create(ctx context.Context) error {
	first := l.pods
	m, err := l.measure(ctx, "durable pod create", l.o.Count, 0.25, 4000, func(ctx context.Context, c kubernetes.Interface, i int) error {
		_, err := c.CoreV1().Pods(l.space).Create(ctx, Pod(first+i), metav1.CreateOptions{})
		return err
	})
	if err == nil {
		l.pods += m.n
	}
	return err
}

func (l *Load) get(ctx context.Context) error {
	if err := l.need(ctx); err != nil {
		return err
	}
	_, err := l.measure(ctx, "GET of a pod", 4*l.o.Count, 0.09, 10000, func(ctx context.Context, c kubernetes.Interface, i int) error {
		_, err := c.CoreV1().Pods(l.space).Get(ctx, fmt.Sprintf("pod-%06d", i%l.o.Count), metav1.GetOptions{})
		return err
	})
	return err
}

func (l *Load) list(ctx context.Context) error {
	if err := l.need(ctx); err != nil {
		return err
	}
	_, err := l.measure(ctx, fmt.Sprintf("LIST of %d pods, protobuf", l.pods), 64, 15*float64(l.pods)/5000, 0, func(ctx context.Context, c kubernetes.Interface, _ int) error {
		// The raw answer: decoding it is the client's work.
		raw, err := c.CoreV1().RESTClient().Get().Namespace(l.space).Resource("pods").DoRaw(ctx)
		if err == nil && len(raw) < l.pods*100 {
			err = fmt.Errorf("the list has only %d bytes", len(raw))
		}
		return err
	})
	return err
}

func (l *Load) label(ctx context.Context) error {
	if err := l.need(ctx); err != nil {
		return err
	}
	_, err := l.measure(ctx, "LIST by a label that 1 in 50 has", 1000, 1, 0, func(ctx context.Context, c kubernetes.Interface, i int) error {
		_, err := c.CoreV1().RESTClient().Get().Namespace(l.space).Resource("pods").Param("labelSelector", fmt.Sprintf("shard=%d", i%50)).DoRaw(ctx)
		return err
	})
	return err
}

// watch counts events that 500 watchers on 8 connections get while others write.
func (l *Load) watch(ctx context.Context) error {
	const watchers, writes = 500, 200
	var got atomic.Int64
	done := make(chan struct{})
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i := range watchers {
		w, err := l.clients[i%min(8, len(l.clients))].CoreV1().ConfigMaps(l.space).Watch(wctx, metav1.ListOptions{ResourceVersion: "0", LabelSelector: "watched=yes"})
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
	before, err := CPUTime(l.PIDs)
	if err != nil {
		return err
	}
	begin := time.Now()
	_, err = l.spread(ctx, writes, 0, func(ctx context.Context, c kubernetes.Interface, i int) error {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("watched-%d", i), Labels: map[string]string{"watched": "yes"}}}
		_, err := c.CoreV1().ConfigMaps(l.space).Create(ctx, cm, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		return fmt.Errorf("%d of %d events came", got.Load(), watchers*writes)
	}
	took := time.Since(begin)
	after, err := CPUTime(l.PIDs)
	if err != nil {
		return err
	}
	cancel()
	wg.Wait()
	if len(l.PIDs) > 0 {
		l.report(Figure{"watch event to one of 500 watchers, server CPU", float64(after-before) / float64(time.Microsecond) / (watchers * writes), 17, "us", false})
	}
	l.report(Figure{"watch events", watchers * writes / took.Seconds(), 75000, "/s", true})
	return nil
}

func (l *Load) apply(ctx context.Context) error {
	_, err := l.measure(ctx, "server-side apply", l.o.Count, 0.25, 4000, func(ctx context.Context, c kubernetes.Interface, i int) error {
		body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied-%d"},"data":{"a":"%d","b":"c"}}`, i%100, i)
		_, err := c.CoreV1().ConfigMaps(l.space).Patch(ctx, fmt.Sprintf("applied-%d", i%100), types.ApplyPatchType, []byte(body),
			metav1.PatchOptions{FieldManager: "bench", Force: new(true)})
		return err
	})
	return err
}

func (l *Load) deleteAll(ctx context.Context) error {
	if err := l.need(ctx); err != nil {
		return err
	}
	before, err := CPUTime(l.PIDs)
	if err != nil {
		return err
	}
	n := l.pods
	begin := time.Now()
	if err := l.clients[0].CoreV1().Pods(l.space).DeleteCollection(ctx, now, metav1.ListOptions{}); err != nil {
		return err
	}
	l.pods = 0
	took := time.Since(begin)
	after, err := CPUTime(l.PIDs)
	if err != nil {
		return err
	}
	if len(l.PIDs) > 0 {
		l.report(Figure{"delete in a collection, server CPU each", MS(after-before) / float64(n), 0.1, "ms", false})
	}
	l.report(Figure{fmt.Sprintf("delete a collection of %d pods", n), took.Seconds(), float64(n) / 5000, "s", false})
	return nil
}
