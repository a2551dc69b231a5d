package apiserver

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protowire"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
)

// Times of watches: a watch without timeoutSeconds ends after 30 to 60 minutes
// (--min-request-timeout); bookmarks come about every minute.
const (
	minWatch      = 30 * time.Minute
	bookmarkEvery = time.Minute
	initialEvents = "k8s.io/initial-events-end"
)

// enoughToWrite is how many bytes of events are gathered before they are written.
const enoughToWrite = 64 << 10

// watcher writes one watch's events.
type watcher struct {
	c       *call
	flush   http.Flusher
	sel     *selection
	cursor  *cache.Cursor
	count   prometheus.Counter // of events sent
	table   bool
	headers bool // the table's columns have been sent
	buf     []byte
	obj     []byte
	evs     []cache.Event

	stalls stalls
}

// watch streams events.
func (c *call) watch() {
	o, sel, err := c.listOptions()
	if err != nil {
		c.fail(err)
		return
	}
	if c.out.Media == codec.YAML {
		c.fail(notAcceptable("only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"))
		return
	}
	flusher, ok := c.w.(http.Flusher)
	if !ok {
		c.fail(apierrors.NewInternalError(plainError("unable to start watch - can't get http.Flusher")))
		return
	}
	c.registerWatch()
	w := &watcher{c: c, flush: flusher, sel: sel, table: c.out.As == "Table", count: c.s.lasting.events.WithLabelValues(c.info.Group, c.info.Version, c.kind.Resource)}
	snap, err := w.begin(o)
	if err != nil {
		c.fail(err)
		return
	}
	timeout := minWatch + rand.N(minWatch)
	if o.TimeoutSeconds != nil && *o.TimeoutSeconds > 0 {
		timeout = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	ct := c.out.Media.ContentType()
	if c.out.Media == codec.Protobuf {
		ct += ";stream=watch"
	}
	c.head(ct)
	c.w.WriteHeader(http.StatusOK)
	flusher.Flush()
	defer w.stalls.guard(c.w)()
	if snap != nil && !w.initial(snap, o) {
		return
	}
	defer c.opened()()
	c.pass.Leave() // a watch that has begun costs nobody a seat
	w.follow(timeout, o.AllowWatchBookmarks)
}

// begin finds where the watch starts: behind a revision, or with the state as it
// is, which is returned.
func (w *watcher) begin(o *metainternal.ListOptions) (*cache.Snapshot, error) {
	c := w.c
	kc := c.s.cache.Of(c.kind)
	rev, err := parseRevision(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	state := rev == 0
	if o.SendInitialEvents != nil {
		state = *o.SendInitialEvents
	}
	if !state {
		if o.ResourceVersion == "" || rev == 0 {
			if err := c.s.cache.Fresh(c.ctx()); err != nil {
				return nil, err
			}
			rev = kc.Snapshot().Revision
		}
		w.cursor, err = kc.Watch(rev)
		return nil, err
	}
	if o.ResourceVersion == "" || o.ResourceVersion == "0" && o.SendInitialEvents == nil {
		err = c.s.cache.Fresh(c.ctx())
	} else if err = c.s.exists(c.ctx(), rev); err == nil {
		err = c.s.cache.WaitFor(c.ctx(), rev)
	}
	if err != nil {
		return nil, err
	}
	snap, cursor := kc.WatchSnapshot()
	w.cursor = cursor
	return &snap, nil
}

// initial sends the state as ADDED events, and its end where the client asked for
// that. It returns false when the client is gone.
func (w *watcher) initial(snap *cache.Snapshot, o *metainternal.ListOptions) bool {
	ok := true
	snap.Ascend(w.c.info.Namespace, "", func(e *cache.Entry) bool {
		if !w.sel.selects(e) {
			return true
		}
		ok = w.send(watch.Added, e)
		if ok && len(w.buf) > enoughToWrite {
			ok = w.write()
		}
		return ok
	})
	if ok && o.SendInitialEvents != nil && o.AllowWatchBookmarks {
		ok = w.bookmark(snap.Revision, true)
	}
	if !ok || len(w.buf) == 0 {
		return ok
	}
	return w.write()
}

// follow sends events until the time is over, the client leaves or the history is
// lost.
func (w *watcher) follow(timeout time.Duration, bookmarks bool) {
	end := time.NewTimer(timeout)
	defer end.Stop()
	var mark <-chan time.Time
	if bookmarks {
		t := time.NewTicker(bookmarkEvery)
		defer t.Stop()
		mark = t.C
	}
	due := false
	for {
		evs, wake, revision, err := w.cursor.Poll(w.evs)
		if err != nil {
			w.fail(expired(err))
			return
		}
		w.evs = evs[:0]
		for i := range evs {
			if !w.event(&evs[i]) || len(w.buf) > enoughToWrite && !w.write() {
				return
			}
		}
		if due && len(evs) == 0 {
			due = false
			if !w.bookmark(revision, false) {
				return
			}
		}
		clear(evs)
		if len(w.buf) > 0 && !w.write() {
			return
		}
		if len(evs) > 0 || wake == nil {
			continue
		}
		select {
		case <-wake:
		case <-mark:
			due = true
		case <-end.C:
			if bookmarks {
				if _, _, revision, err := w.cursor.Poll(nil); err == nil && w.bookmark(revision, false) {
					w.write()
				}
			}
			return
		case <-w.c.ctx().Done():
			return
		case <-w.c.s.closing:
			return
		case <-w.cursor.Done():
			return
		}
	}
}

// event sends one change as the selection sees it: what begins to match is added,
// what ceases to is deleted.
func (w *watcher) event(ev *cache.Event) bool {
	was, is := w.wants(ev.Old), w.wants(ev.New)
	switch {
	case is && was:
		return w.send(watch.Modified, ev.New)
	case is:
		return w.send(watch.Added, ev.New)
	case was && ev.Gone != nil:
		return w.send(watch.Deleted, ev.Gone)
	case was:
		return w.send(watch.Deleted, ev.Left())
	}
	return true
}

func (w *watcher) wants(e *cache.Entry) bool {
	if e == nil {
		return false
	}
	ns := w.c.info.Namespace
	return (ns == "" || e.Object.GetNamespace() == ns) && w.sel.selects(e)
}

// send appends one event to the buffer.
func (w *watcher) send(t watch.EventType, e *cache.Entry) bool {
	c := w.c
	if c.out.As != "" {
		raw, err := w.transformed(e)
		if err != nil {
			w.fail(err)
			return false
		}
		w.frame(t, raw)
		return true
	}
	body, err := e.EventBody(c.out.Media, c.version)
	if err != nil {
		w.fail(apierrors.NewInternalError(err))
		return false
	}
	w.obj = codec.AppendObject(w.obj[:0], c.out.Media, codec.GVK(c.kind, c.version), body)
	w.frame(t, w.obj)
	return true
}

// transformed is an object as Table or metadata. Only the first table has columns.
func (w *watcher) transformed(e *cache.Entry) ([]byte, error) {
	if !w.table {
		shown, err := w.c.form(e)
		if err != nil {
			return nil, err
		}
		obj := partial(w.c.kind, shown)
		if w.c.out.Media == codec.JSON {
			return w.c.partialJSON(shown)
		}
		return codec.Object(w.c.out.Media, w.c.metaKind("PartialObjectMetadata"), obj)
	}
	t, err := w.c.newTable()
	if err != nil {
		return nil, err
	}
	if err := t.add(e); err != nil {
		return nil, err
	}
	if w.headers {
		t.table.ColumnDefinitions = nil
	}
	w.headers = true
	t.table.ResourceVersion = e.Object.GetResourceVersion()
	body, err := json.Marshal(&t.table)
	if err != nil {
		return nil, err
	}
	return codec.AppendTyped(nil, w.c.metaKind("Table"), body), nil
}

// frame appends a watch event around an encoded object.
func (w *watcher) frame(t watch.EventType, obj []byte) {
	w.count.Inc()
	if w.c.out.Media != codec.Protobuf {
		w.buf = append(w.buf, `{"type":"`...)
		w.buf = append(w.buf, t...)
		w.buf = append(w.buf, `","object":`...)
		w.buf = append(w.buf, obj...)
		w.buf = append(w.buf, '}', '\n')
		return
	}
	// metav1.WatchEvent: type = 1, object = 2 (a RawExtension with raw = 1).
	raw := 1 + protowire.SizeBytes(len(obj))
	size := 1 + protowire.SizeBytes(len(t)) + 1 + protowire.SizeBytes(raw)
	w.buf = frameHeader(w.buf, size)
	w.buf = append(w.buf, 1<<3|2)
	w.buf = protowire.AppendString(w.buf, string(t))
	w.buf = append(w.buf, 2<<3|2)
	w.buf = protowire.AppendVarint(w.buf, uint64(raw))
	w.buf = append(w.buf, 1<<3|2)
	w.buf = protowire.AppendBytes(w.buf, obj)
}

// write hands the buffer to the connection.
func (w *watcher) write() bool {
	w.stalls.begin()
	_, err := w.c.w.Write(w.buf)
	w.buf = w.buf[:0]
	if cap(w.buf) > 256<<10 {
		w.buf = nil
	}
	w.flush.Flush()
	w.stalls.end()
	return err == nil
}

// bookmark tells how far the watch has come.
func (w *watcher) bookmark(revision int64, initial bool) bool {
	rv := strconv.FormatInt(revision, 10)
	if w.table {
		t := &metav1.Table{ListMeta: metav1.ListMeta{ResourceVersion: rv}}
		p := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: rv}}
		if initial {
			p.Annotations = map[string]string{initialEvents: "true"}
		}
		if !w.headers {
			if m, err := w.c.newTable(); err == nil {
				t.ColumnDefinitions = m.table.ColumnDefinitions
			}
			w.headers = true
		}
		raw, err := codec.Object(codec.JSON, w.c.metaKind("PartialObjectMetadata"), p)
		if err != nil {
			return false
		}
		row := metav1.TableRow{Cells: bookmarkCells(len(t.ColumnDefinitions))}
		row.Object.Raw = raw
		t.Rows = []metav1.TableRow{row}
		return w.encoded(watch.Bookmark, w.c.metaKind("Table"), t)
	}
	obj := w.c.kind.New()
	obj.SetResourceVersion(rv)
	if initial {
		obj.SetAnnotations(map[string]string{initialEvents: "true"})
	}
	if w.c.out.As != "" {
		return w.encoded(watch.Bookmark, w.c.metaKind("PartialObjectMetadata"), partial(w.c.kind, obj))
	}
	return w.send(watch.Bookmark, &cache.Entry{Object: obj})
}

// bookmarkCells are empty: a bookmark is no object.
func bookmarkCells(n int) []any {
	cells := make([]any, n)
	for i := range cells {
		cells[i] = ""
	}
	return cells
}

// encoded sends an object that no cache holds.
func (w *watcher) encoded(t watch.EventType, gvk schema.GroupVersionKind, obj runtime.Object) bool {
	raw, err := codec.Object(w.c.out.Media, gvk, obj)
	if err != nil {
		return false
	}
	w.frame(t, raw)
	return true
}

// fail ends the stream with an ERROR event.
func (w *watcher) fail(err error) {
	status := statusOf(err)
	if w.encoded(watch.Error, statusKind, &status) {
		w.write()
	}
}
