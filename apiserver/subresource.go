package apiserver

import (
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/stream"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// subresource dispatches a request for a part of an object.
func (c *call) subresource() {
	in := &c.info
	row, ok := c.kind.Subresources[in.Sub]
	h := c.s.opt.Subresources[in.Sub]
	proxy := h != nil && in.Sub == "proxy" // takes any path and method
	if !ok || in.Rest != "" && in.Rest != "/" && !proxy {
		c.notFound()
		return
	}
	if !proxy && (c.r.Method == http.MethodHead || !slices.Contains(row.Verbs, in.Verb)) || proxy && in.Verb != "" && !slices.Contains(row.Verbs, in.Verb) {
		c.notAllowed()
		return
	}
	if h != nil {
		c.connect(h)
		return
	}
	if !c.negotiate(false) {
		return
	}
	switch {
	case in.Verb == "create":
		c.post(&row)
	case row.Get != nil:
		c.view(&row)
	case !row.Kind.Empty() && row.Kind != c.kind.GVK():
		c.notAllowed() // a stream, and nobody is there to answer it
	case in.Verb == "get":
		c.get()
	case in.Verb == "update":
		c.put(in.Sub)
	case in.Verb == "patch":
		c.patchSub(in.Sub)
	default:
		c.notAllowed()
	}
}

// connect hands a stream or proxy over.
func (c *call) connect(h SubresourceHandler) {
	var obj kinds.Object
	if kc := c.s.cache.Of(c.kind); kc != nil {
		if err := c.s.cache.Fresh(c.ctx()); err != nil {
			c.fail(err)
			return
		}
		if e := kc.Get(c.info.Namespace, c.info.Name); e != nil {
			obj = e.Object
		}
	}
	if c.info.Sub != "log" { // a log is read
		if err := c.admitConnect(obj); err != nil {
			c.fail(err)
			return
		}
	}
	defer c.opened()()
	h(c.w, c.r.WithContext(auth.WithUser(c.ctx(), c.user)), c.kind, obj, c.info.Sub)
}

// admitConnect asks admission about a stream. What the request's query says is an
// object of its own there, and what admission makes of it is the query from then on.
func (c *call) admitConnect(parent kinds.Object) error {
	row := c.kind.Subresources[c.info.Sub]
	r := c.req()
	r.Sub = c.info.Sub
	options := stream.Options(row.Kind.Kind, c.r.URL.Query(), c.info.Rest)
	posted, err := c.s.engine.Stream(c.ctx(), r, parent, row.Kind, options)
	if err != nil {
		return err
	}
	if err := posted.Validate(c.ctx(), posted.View()); err != nil {
		return err
	}
	if posted.View() == options {
		return nil
	}
	if query, ok := stream.Query(posted.View()); ok {
		u := *c.r.URL
		u.RawQuery = query.Encode()
		c.r = c.r.Clone(c.ctx())
		c.r.URL, c.r.RequestURI = &u, u.RequestURI()
	}
	return nil
}

// newView makes an empty object of the subresource's own kind, in the version
// that the client speaks.
func (c *call) newView(row *kinds.Subresource) (runtime.Object, error) {
	obj, err := c.s.opt.Scheme.New(row.Kind)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj, nil
}

// sentView reads the body as an object of the subresource's own kind.
func (c *call) sentView(row *kinds.Subresource, directive string) (runtime.Object, error) {
	view, err := c.newView(row)
	if err != nil {
		return nil, err
	}
	if err := c.decode(view, row.Kind, directive); err != nil {
		return nil, err
	}
	c.auditSent(row.Kind, view)
	return view, nil
}

// post answers POST to a subresource.
func (c *call) post(row *kinds.Subresource) {
	o, err := c.createOptions()
	if err != nil {
		c.fail(err)
		return
	}
	view, err := c.sentView(row, o.FieldValidation)
	if err != nil {
		c.fail(err)
		return
	}
	r := c.req()
	r.Sub = c.info.Sub
	out, err := c.s.post(c.ctx(), r, view, o)
	if err != nil {
		c.fail(err)
		return
	}
	if s, ok := out.(*metav1.Status); ok {
		if s.Code == 0 {
			s.Code = http.StatusCreated
		}
		c.object(int(s.Code), statusKind, s)
		return
	}
	c.object(http.StatusCreated, c.typeOf(out, row.Kind), out)
}

// typeOf names an answer's type; what it says of itself is taken away.
func (c *call) typeOf(obj runtime.Object, fallback schema.GroupVersionKind) schema.GroupVersionKind {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk.Empty() {
		return fallback
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return gvk
}

// view answers for a subresource that shows its parent in another form: scale.
func (c *call) view(row *kinds.Subresource) {
	e, err := c.parent(row)
	if err != nil {
		c.fail(err)
		return
	}
	obj, err := c.form(e)
	if err != nil {
		c.fail(err)
		return
	}
	out, err := row.Get(obj)
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	c.object(http.StatusOK, c.typeOf(out, row.Kind), out)
}

// parent reads the object that a view is of, changed as the request asks.
func (c *call) parent(row *kinds.Subresource) (*cache.Entry, error) {
	r := c.req()
	r.Sub = c.info.Sub
	switch c.info.Verb {
	case "get":
		return c.s.engine.Get(c.ctx(), r)
	case "update":
		o, err := c.updateOptions()
		if err != nil {
			return nil, err
		}
		view, err := c.sentView(row, o.FieldValidation)
		if err != nil {
			return nil, err
		}
		return c.s.engine.UpdateView(c.ctx(), r, row, view, o)
	case "patch":
		pt, data, o, err := c.patchOptions()
		if err != nil {
			return nil, err
		}
		view, err := c.newView(row)
		if err != nil {
			return nil, err
		}
		return c.s.engine.PatchView(c.ctx(), r, row, view, pt, data, o)
	}
	return nil, errNotAllowed()
}
