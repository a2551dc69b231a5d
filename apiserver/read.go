package apiserver

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metainternalscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metainternalvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
)

// decodeQuery reads the query into options.
func (c *call) decodeQuery(into runtime.Object) error {
	if len(c.query) == 0 {
		return nil
	}
	if err := metainternalscheme.ParameterCodec.DecodeParameters(c.query, metav1.SchemeGroupVersion, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// get answers with one object.
func (c *call) get() {
	var o metav1.GetOptions
	if err := c.decodeQuery(&o); err != nil {
		c.fail(err)
		return
	}
	if o.ResourceVersion != "" {
		if err := c.notOlder(c.ctx(), o.ResourceVersion); err != nil {
			c.fail(err)
			return
		}
	}
	e, err := c.s.engine.Get(c.ctx(), c.req())
	if err != nil {
		c.fail(err)
		return
	}
	c.entry(http.StatusOK, e)
}

// notOlder waits until the cache has reached a client's resourceVersion.
func (c *call) notOlder(ctx context.Context, rv string) error {
	rev, err := parseRevision(rv)
	if err != nil {
		return err
	}
	if err := c.s.exists(ctx, rev); err != nil {
		return err
	}
	return c.s.cache.WaitFor(ctx, rev)
}

// exists refuses a revision that nobody has written yet.
func (s *Server) exists(ctx context.Context, rev int64) error {
	if rev <= s.opt.Store.Revision() {
		return nil
	}
	now, err := s.cache.Latest(ctx)
	if err == nil && rev > now {
		err = tooLarge(rev, now)
	}
	return err
}

func parseRevision(rv string) (int64, error) {
	if rv == "" || rv == "0" {
		return 0, nil
	}
	rev, err := strconv.ParseUint(rv, 10, 63)
	if err != nil {
		if ne, ok := err.(*strconv.NumError); ok {
			ne.Func = "ParseUint"
		}
		return 0, invalidRevision(rv, err)
	}
	return int64(rev), nil
}

// invalidRevision is no StatusError: Kubernetes answers 500 with these words.
func invalidRevision(rv string, err error) error {
	return plainError("resourceVersion: Invalid value: " + strconv.Quote(rv) + ": " + err.Error())
}

type plainError string

func (e plainError) Error() string { return string(e) }

// tooLarge says that a revision lies in the future (storage, NewTooLargeResourceVersionError).
func tooLarge(rev, now int64) error {
	err := apierrors.NewTimeoutError("Too large resource version: "+strconv.FormatInt(rev, 10)+", current: "+strconv.FormatInt(now, 10), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// listOptions reads and checks the options of list, watch and deletecollection.
func (c *call) listOptions() (*metainternal.ListOptions, *selection, error) {
	o := &metainternal.ListOptions{}
	if err := c.decodeQuery(o); err != nil {
		return nil, nil, err
	}
	metainternal.SetListOptionsDefaults(o, true)
	if errs := metainternalvalidation.ValidateListOptions(o, true); len(errs) > 0 {
		return nil, nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	sel, err := newSelection(c.kind, c.version, o.LabelSelector, o.FieldSelector)
	if err != nil {
		return nil, nil, err
	}
	sel.name = c.info.Name
	return o, sel, nil
}

// list answers with a collection.
func (c *call) list() {
	o, sel, err := c.listOptions()
	if err != nil {
		c.fail(err)
		return
	}
	if c.out.As == "PartialObjectMetadata" {
		c.fail(notAcceptable("you requested PartialObjectMetadata, but the requested object is a list (" + c.goType(true) + ")"))
		return
	}
	p, err := c.page(o, sel)
	if err != nil {
		c.fail(err)
		return
	}
	c.writePage(p)
}

// page is what a list answers.
type page struct {
	items     []*cache.Entry
	revision  int64
	next      string // continue token
	remaining *int64
	// runs tells that no entry between two items was left out.
	runs bool
}

// page collects the entries of a list.
func (c *call) page(o *metainternal.ListOptions, sel *selection) (*page, error) {
	kc := c.s.cache.Of(c.kind)
	v, err := c.state(kc, o)
	if err != nil {
		return nil, err
	}
	p := &page{revision: v.revision, runs: sel.everything()}
	limit := int(o.Limit)
	if o.ResourceVersion == "0" && o.ResourceVersionMatch == "" {
		limit = 0 // Kubernetes' cache answers these whole
	}
	if sel.everything() && limit <= 0 && c.info.Namespace == "" {
		p.items = make([]*cache.Entry, 0, v.snap.Len())
	}
	if sel.name != "" {
		p.one(c, v, sel)
		return p, nil
	}
	more, left := false, int64(0)
	sel.ascend(kc, v.snap, c.info.Namespace, v.after, func(e *cache.Entry) bool {
		if !more && !sel.selects(e) {
			return true
		}
		if limit > 0 && len(p.items) == limit {
			if !sel.everything() {
				more = true
				return false
			}
			more = true
			left++
			return true
		}
		p.items = append(p.items, e)
		return true
	})
	if more {
		p.next = token{Revision: v.revision, After: p.items[len(p.items)-1].Key}.String()
		if sel.everything() {
			p.remaining = &left
		}
	}
	return p, nil
}

// one is a list that selects a name.
func (p *page) one(c *call, v *view, sel *selection) {
	if c.info.Namespace != "" || !c.kind.Namespaced {
		if e := v.snap.Get(c.info.Namespace, sel.name); e != nil && sel.selects(e) {
			p.items = append(p.items, e)
		}
		return
	}
	v.snap.Ascend("", "", func(e *cache.Entry) bool {
		if (e.Key == sel.name || strings.HasSuffix(e.Key, "/"+sel.name)) && sel.selects(e) {
			p.items = append(p.items, e)
		}
		return true
	})
}

// writePage answers with the items in the form that was asked for.
func (c *call) writePage(p *page) {
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatInt(p.revision, 10), Continue: p.next, RemainingItemCount: p.remaining}
	switch c.out.As {
	case "Table":
		t, err := c.newTable()
		if err != nil {
			c.fail(err)
			return
		}
		t.table.ListMeta = meta
		for _, e := range p.items {
			if err := t.add(e); err != nil {
				c.fail(apierrors.NewInternalError(err))
				return
			}
		}
		c.object(http.StatusOK, c.metaKind("Table"), &t.table)
	case "PartialObjectMetadataList":
		c.writePartials(p, meta)
	default:
		c.writeItems(p, meta)
	}
}

func (c *call) writePartials(p *page, meta metav1.ListMeta) {
	l := &metav1.PartialObjectMetadataList{ListMeta: meta, Items: make([]metav1.PartialObjectMetadata, 0, len(p.items))}
	for _, e := range p.items {
		obj, err := c.form(e)
		if err != nil {
			c.fail(err)
			return
		}
		x := partial(c.kind, obj)
		x.SetGroupVersionKind(c.metaKind("PartialObjectMetadata"))
		l.Items = append(l.Items, *x)
	}
	c.object(http.StatusOK, c.metaKind("PartialObjectMetadataList"), l)
}

// writeItems joins the items' own encodings to a list.
func (c *call) writeItems(p *page, meta metav1.ListMeta) {
	gvk := codec.GVK(c.kind, c.version)
	gvk.Kind += "List"
	if codec.IsHub(c.version) || c.kind.Custom != nil {
		gvk.Kind = c.kind.List
	}
	c.auditEntries(gvk, &meta, p.items...)
	if c.out.Media == codec.Protobuf {
		c.writeProtobufItems(p, meta, gvk)
		return
	}
	c.writeJSONItems(p, meta, gvk)
}

// writeJSONItems writes the list straight to the connection, save where it must
// be seen whole: YAML, indented JSON.
func (c *call) writeJSONItems(p *page, meta metav1.ListMeta, gvk schema.GroupVersionKind) {
	m, err := json.Marshal(&meta)
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	if c.kind.Custom != nil && meta.Continue == "" {
		// Kubernetes' lists of custom resources always say it.
		m = append([]byte(`{"continue":"",`), m[1:]...)
	}
	whole := c.out.Media == codec.YAML || c.out.Pretty
	// Items of lists of custom resources say their type.
	var typed []byte
	if c.kind.Custom != nil {
		typed = codec.AppendTyped(nil, codec.GVK(c.kind, c.version), []byte("{}"))
		typed[len(typed)-1] = ',' // there is always metadata behind it
	}
	if !whole && c.joins(p) {
		c.joinJSON(p, codec.AppendTyped(nil, gvk, slices.Concat([]byte(`{"metadata":`), m, []byte(`,"items":[`))), typed)
		return
	}
	bodies := make([][]byte, len(p.items))
	size := max(len(p.items)-1, 0)
	for i, e := range p.items {
		if bodies[i], err = e.Body(codec.JSON, c.version); err != nil {
			c.fail(apierrors.NewInternalError(err))
			return
		}
		size += len(bodies[i])
		if typed != nil {
			size += len(typed) - 1
		}
	}
	buf := buffers.get()
	defer buffers.put(buf)
	head := append([]byte(`{"metadata":`), m...)
	head = append(head, `,"items":[`...)
	b := (*buf)[:0]
	var w io.Writer
	if whole {
		b = append(b, head...)
	} else {
		b = codec.AppendTyped(b, gvk, head)
		var done func()
		w, done = c.begin(http.StatusOK, codec.TypeJSON, len(b)+size+len("]}\n"))
		defer done()
	}
	item := jsonItem(typed)
	for i, body := range bodies {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, body)
		if !whole && len(b) > 256<<10 {
			if _, err := w.Write(b); err != nil {
				return // the client is gone
			}
			b = b[:0]
		}
	}
	b = append(b, "]}"...)
	if whole {
		*buf = b
		c.body(http.StatusOK, c.out.Media, gvk, b)
		return
	}
	b = append(b, '\n')
	_, _ = w.Write(b)
	*buf = b
}

// writeProtobufItems writes the list straight to the connection: its size is
// known from the items' encodings.
func (c *call) writeProtobufItems(p *page, meta metav1.ListMeta, gvk schema.GroupVersionKind) {
	m, err := meta.Marshal()
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	if c.joins(p) {
		c.joinProtobuf(p, gvk, m)
		return
	}
	bodies := make([][]byte, len(p.items))
	size := 1 + protowire.SizeBytes(len(m))
	for i, e := range p.items {
		if bodies[i], err = e.Body(codec.Protobuf, c.version); err != nil {
			c.fail(apierrors.NewInternalError(err))
			return
		}
		size += 1 + protowire.SizeBytes(len(bodies[i]))
	}
	buf := buffers.get()
	defer buffers.put(buf)
	b := codec.AppendEnvelopeHead((*buf)[:0], gvk, size)
	total := len(b) + size + codec.EnvelopeTail
	w, done := c.begin(http.StatusOK, codec.TypeProtobuf, total)
	defer done()
	b = append(b, 1<<3|2)
	b = protowire.AppendBytes(b, m)
	for _, body := range bodies {
		b = protobufItem(b, body)
		if len(b) > 256<<10 {
			if _, err := w.Write(b); err != nil {
				return // the client is gone
			}
			b = b[:0]
		}
	}
	b = codec.AppendEnvelopeTail(b)
	_, _ = w.Write(b)
	*buf = b
}
