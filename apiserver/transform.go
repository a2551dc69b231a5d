package apiserver

import (
	"encoding/json"
	"maps"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// metaKind names a type of meta.k8s.io in the version that was asked for.
func (c *call) metaKind(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: metav1.GroupName, Version: c.out.Meta, Kind: kind}
}

// transformed answers with one object as Table or metadata.
func (c *call) transformed(code int, e *cache.Entry) {
	switch c.out.As {
	case "Table":
		t, err := c.newTable()
		if err != nil {
			c.fail(err)
			return
		}
		if err := t.add(e); err != nil {
			c.fail(apierrors.NewInternalError(err))
			return
		}
		t.table.ResourceVersion = e.Object.GetResourceVersion()
		c.object(code, c.metaKind("Table"), &t.table)
	case "PartialObjectMetadata":
		obj, err := c.form(e)
		if err != nil {
			c.fail(err)
			return
		}
		c.object(code, c.metaKind("PartialObjectMetadata"), partial(c.kind, obj))
	default:
		c.fail(c.noList())
	}
}

// goType is the Go type that Kubernetes' messages name.
func (c *call) goType(list bool) string {
	if c.kind.Custom != nil {
		return "*unstructured.UnstructuredList"
	}
	kind := c.kind.Kind
	if list {
		kind = c.kind.List
	}
	group := c.kind.Group
	if group == "" {
		group = "core"
	}
	return "*" + group + "." + kind
}

// noList refuses to show one object as a list.
func (c *call) noList() error {
	if c.kind.Custom != nil {
		return plainError("content is not a list")
	}
	return notAcceptable("you requested PartialObjectMetadataList, but the requested object is not a list (" + c.goType(false) + ")")
}

func notAcceptable(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: message,
	}}
}

// partial is an object's metadata alone.
func partial(k *kinds.Kind, obj kinds.Object) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{}
	if m, ok := obj.(metav1.ObjectMetaAccessor); ok {
		if om, ok := m.GetObjectMeta().(*metav1.ObjectMeta); ok {
			p.ObjectMeta = *om
		}
	}
	for _, hidden := range k.HiddenAnnotations {
		if _, ok := p.Annotations[hidden]; ok {
			p.Annotations = maps.Clone(p.Annotations)
			delete(p.Annotations, hidden)
		}
	}
	return p
}

// tableMaker makes the rows of a Table.
type tableMaker struct {
	c       *call
	table   metav1.Table
	include metav1.IncludeObjectPolicy
	now     time.Time
}

func (c *call) newTable() (*tableMaker, error) {
	t := &tableMaker{c: c, include: metav1.IncludeObjectPolicy(c.query.Get("includeObject")), now: c.s.opt.Now()}
	switch t.include {
	case "", metav1.IncludeMetadata, metav1.IncludeNone, metav1.IncludeObject:
	default:
		return nil, apierrors.NewBadRequest("Unable to convert to Table as requested: includeObject: Invalid value: \"" +
			string(t.include) + "\": must be 'Metadata', 'Object', 'None', or empty")
	}
	t.table.ColumnDefinitions = c.kind.Columns
	if c.kind.Cells == nil {
		t.table.ColumnDefinitions = defaultColumns
	}
	t.table.Rows = []metav1.TableRow{}
	return t, nil
}

var metaDoc = metav1.ObjectMeta{}.SwaggerDoc()

var defaultColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: metaDoc["name"]},
	{Name: "Created At", Type: "date", Description: metaDoc["creationTimestamp"]},
}

// add appends the row of an object.
func (t *tableMaker) add(e *cache.Entry) error {
	k := t.c.kind
	row := metav1.TableRow{}
	obj, err := t.c.form(e)
	if err != nil {
		return err
	}
	if k.Cells != nil {
		row.Cells = k.Cells(obj, t.now)
		if k.RowConditions != nil {
			row.Conditions = k.RowConditions(obj)
		}
	} else {
		row.Cells = []any{e.Object.GetName(), e.Object.GetCreationTimestamp().UTC().Format(time.RFC3339)}
	}
	switch t.include {
	case metav1.IncludeNone:
	case metav1.IncludeObject:
		body, err := e.Body(codec.JSON, t.c.version)
		if err != nil {
			return err
		}
		row.Object.Raw = codec.AppendTyped(nil, codec.GVK(k, t.c.version), body)
	default:
		raw, err := t.c.partialJSON(obj)
		if err != nil {
			return err
		}
		row.Object = runtime.RawExtension{Raw: raw}
	}
	t.table.Rows = append(t.table.Rows, row)
	return nil
}

func (c *call) partialJSON(obj kinds.Object) ([]byte, error) {
	body, err := json.Marshal(partial(c.kind, obj))
	if err != nil {
		return nil, err
	}
	return codec.AppendTyped(nil, c.metaKind("PartialObjectMetadata"), body), nil
}
