package client

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/reference"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Recorder writes Events as Kubernetes' components do: an event that comes again
// raises the count of the one before; more than ten of one reason within ten
// minutes are combined; one object may cause 25 at once and then one in five
// minutes (client-go, tools/record/events_cache.go). Recording never blocks and
// never fails the caller; a goroutine lives only while there is something to write.
type Recorder struct {
	client    crclient.Client
	component string
	host      string
	log       *slog.Logger

	mu      sync.Mutex
	queue   []*corev1.Event
	writing bool
	known   map[eventKey]*known
	similar map[eventKey]*window
	budget  map[eventKey]*bucket
	last    int64
}

const (
	eventQueue      = 1000
	eventMemory     = 4096 // entries of each map, after which it begins anew
	eventSimilar    = 10
	eventWindow     = 10 * time.Minute
	eventBurst      = 25
	eventRefill     = 5 * time.Minute
	eventMaxMessage = 1024
	seriesRefresh   = 6 * time.Minute
)

// eventKey names what makes events the same.
type eventKey struct {
	component, kind, namespace, name, field string
	uid                                     types.UID
	typ, reason, message                    string
}

type known struct {
	namespace, name string
	count           int32
	first, written  time.Time
}

type window struct {
	messages map[string]bool
	last     time.Time
}

type bucket struct {
	left float64
	at   time.Time
}

// NewRecorder records for one component; host may be empty.
func NewRecorder(c crclient.Client, component, host string, log *slog.Logger) *Recorder {
	return &Recorder{
		client: c, component: component, host: host, log: log,
		known: map[eventKey]*known{}, similar: map[eventKey]*window{}, budget: map[eventKey]*bucket{},
	}
}

// Eventf records that something happened to obj. typ is Normal or Warning.
func (r *Recorder) Eventf(obj runtime.Object, typ, reason, format string, args ...any) {
	r.record(obj, typ, reason, "", fmt.Sprintf(format, args...))
}

// Actionf records in the form of events.k8s.io, as the scheduler does: with the
// action taken and without first and last timestamps.
func (r *Recorder) Actionf(obj runtime.Object, typ, reason, action, format string, args ...any) {
	r.record(obj, typ, reason, action, fmt.Sprintf(format, args...))
}

func (r *Recorder) record(obj runtime.Object, typ, reason, action, message string) {
	ref, err := reference.GetReference(r.client.Scheme(), obj)
	if err != nil {
		r.log.Error("event has no object", "reason", reason, "message", message, "err", err)
		return
	}
	if len(message) > eventMaxMessage {
		message = message[:eventMaxMessage]
	}
	now := time.Now()
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: ref.Namespace},
		InvolvedObject: *ref, Type: typ, Reason: reason, Message: message,
		ReportingController: r.component,
	}
	if e.Namespace == "" {
		e.Namespace = metav1.NamespaceDefault
	}
	if action == "" {
		e.Source = corev1.EventSource{Component: r.component, Host: r.host}
		e.ReportingInstance = r.host
		e.FirstTimestamp, e.LastTimestamp, e.Count = metav1.NewTime(now), metav1.NewTime(now), 1
	} else {
		e.Action, e.EventTime = action, metav1.NewMicroTime(now)
		e.ReportingInstance = r.component + "-" + r.host
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Two events of one object never get one name.
	r.last = max(r.last+1, now.UnixNano())
	e.Name = fmt.Sprintf("%s.%x", ref.Name, r.last)
	if len(r.queue) >= eventQueue {
		return
	}
	r.queue = append(r.queue, e)
	if !r.writing {
		r.writing = true
		go r.write()
	}
}

func (r *Recorder) write() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.queue, r.writing = nil, false
			r.mu.Unlock()
			return
		}
		e := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := r.send(ctx, e)
		cancel()
		if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			r.log.Debug("event not written", "reason", e.Reason, "message", e.Message, "err", err)
		}
	}
}

// send runs on the one writing goroutine, which alone uses the maps.
func (r *Recorder) send(ctx context.Context, e *corev1.Event) error {
	now := time.Now()
	key := eventKey{
		component: r.component, kind: e.InvolvedObject.Kind, namespace: e.InvolvedObject.Namespace,
		name: e.InvolvedObject.Name, field: e.InvolvedObject.FieldPath, uid: e.InvolvedObject.UID,
	}
	if !r.afford(key, now) {
		return nil
	}
	key.typ, key.reason = e.Type, e.Reason
	if e.Action == "" {
		key.message = r.combine(key, e, now)
	} else {
		key.message = e.Action
	}
	have := r.known[key]
	if have != nil {
		err := r.again(ctx, have, e, now)
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	if err := r.client.Create(ctx, e); err != nil {
		return err
	}
	if len(r.known) >= eventMemory {
		clear(r.known)
	}
	r.known[key] = &known{namespace: e.Namespace, name: e.Name, count: 1, first: now, written: now}
	return nil
}

// again raises the count of an event that is there. A series is written at its
// second event and then every six minutes.
func (r *Recorder) again(ctx context.Context, have *known, e *corev1.Event, now time.Time) error {
	have.count++
	change := map[string]any{"count": have.count, "lastTimestamp": e.LastTimestamp, "message": e.Message}
	if e.Action != "" {
		if have.count > 2 && now.Sub(have.written) < seriesRefresh {
			return nil
		}
		change = map[string]any{"series": corev1.EventSeries{Count: have.count, LastObservedTime: e.EventTime}}
	}
	data, err := json.Marshal(change)
	if err != nil {
		return err
	}
	have.written = now
	there := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: have.namespace, Name: have.name}}
	return r.client.Patch(ctx, there, crclient.RawPatch(types.MergePatchType, data))
}

// afford takes from the budget of an object.
func (r *Recorder) afford(key eventKey, now time.Time) bool {
	b := r.budget[key]
	if b == nil {
		if len(r.budget) >= eventMemory {
			clear(r.budget)
		}
		b = &bucket{left: eventBurst, at: now}
		r.budget[key] = b
	}
	b.left = min(eventBurst, b.left+float64(now.Sub(b.at))/float64(eventRefill))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// combine returns the message that decides whether e is a repetition; from the
// eleventh different message on they count as one.
func (r *Recorder) combine(key eventKey, e *corev1.Event, now time.Time) string {
	w := r.similar[key]
	if w == nil || now.Sub(w.last) > eventWindow {
		if len(r.similar) >= eventMemory {
			clear(r.similar)
		}
		w = &window{messages: map[string]bool{}}
		r.similar[key] = w
	}
	w.last = now
	if len(w.messages) < eventSimilar || w.messages[e.Message] {
		w.messages[e.Message] = true
		return e.Message
	}
	e.Message = "(combined from similar events): " + e.Message
	return "(combined)"
}
