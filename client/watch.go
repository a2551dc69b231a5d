package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/kinds"
)

// Watch follows what list would list. As over HTTP, without a resourceVersion (or
// with "0") it begins with every object there is as Added. Objects are shared:
// copy before a change.
func (p *InProcess) Watch(ctx context.Context, list crclient.ObjectList, opts ...crclient.ListOption) (watch.Interface, error) {
	o := crclient.ListOptions{}
	o.ApplyOptions(opts)
	t, err := p.resolve(list)
	if err != nil {
		return nil, err
	}
	if !t.kind.Namespaced {
		o.Namespace = ""
	}
	w := &watcher{target: t, labels: o.LabelSelector, out: make(chan watch.Event)}
	if o.FieldSelector != nil && !o.FieldSelector.Empty() {
		if w.fields, err = fieldMatcher(t.kind, o.FieldSelector); err != nil {
			return nil, err
		}
	}
	var first []kinds.Object
	var revision int64
	raw := metav1.ListOptions{}
	if o.Raw != nil {
		raw = *o.Raw
	}
	if raw.ResourceVersion == "" || raw.ResourceVersion == "0" {
		first, revision, err = p.backend.List(ctx, t.kind, o.Namespace, o.LabelSelector)
	} else if revision, err = strconv.ParseInt(raw.ResourceVersion, 10, 64); err != nil {
		err = apierrors.NewBadRequest(fmt.Sprintf("Invalid value: %q: %v", raw.ResourceVersion, err))
	}
	if err != nil {
		return nil, err
	}
	stream, err := p.backend.Watch(ctx, t.kind, o.Namespace, revision)
	if err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go w.run(ctx, first, stream)
	return w, nil
}

type watcher struct {
	target target
	labels labels.Selector
	fields func(kinds.Object) bool
	out    chan watch.Event
	cancel context.CancelFunc
	once   sync.Once
}

func (w *watcher) Stop()                          { w.once.Do(w.cancel) }
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

func (w *watcher) run(ctx context.Context, first []kinds.Object, stream EventStream) {
	defer close(w.out)
	defer w.Stop()
	defer stream.Close()
	for _, obj := range first {
		if !w.send(ctx, Event{New: obj}) {
			return
		}
	}
	for {
		events, err := stream.Next(ctx)
		if err != nil {
			w.fail(ctx, err)
			return
		}
		for _, e := range events {
			if !w.send(ctx, e) {
				return
			}
		}
	}
}

func (w *watcher) matches(obj kinds.Object) bool {
	return obj != nil && matches(w.labels, obj) && (w.fields == nil || w.fields(obj))
}

// send tells an event as a watcher with selectors sees it: an object that stops
// matching is deleted for it.
func (w *watcher) send(ctx context.Context, e Event) bool {
	was, is := w.matches(e.Old), w.matches(e.New)
	var typ watch.EventType
	obj := e.New
	switch {
	case is && was:
		typ = watch.Modified
	case is:
		typ = watch.Added
	case was:
		typ = watch.Deleted
		if obj == nil {
			obj = e.Old
		}
	default:
		return true
	}
	v, err := w.target.view(obj)
	if err != nil {
		w.fail(ctx, err)
		return false
	}
	select {
	case w.out <- watch.Event{Type: typ, Object: v}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *watcher) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	status := &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		s := known.Status()
		status = &s
	}
	select {
	case w.out <- watch.Event{Type: watch.Error, Object: status}:
	case <-ctx.Done():
	}
}
