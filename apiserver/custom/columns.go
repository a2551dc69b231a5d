package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

var metaDoc = metav1.ObjectMeta{}.SwaggerDoc()

const createdPath = ".metadata.creationTimestamp"

// column is one printed column. A path is parsed when the first table asks for it:
// jsonpath's parsers are large, and not safe for concurrent use.
type column struct {
	path string
	kind string
	meta bool // the path leads through metadata
}

// columns are the printed columns of a version (pkg/registry/customresource/
// tableconvertor). Those behind one whose path cannot be parsed are left out.
func columns(v *apiextensionsv1.CustomResourceDefinitionVersion) ([]metav1.TableColumnDefinition, func(kinds.Object, time.Time) []any) {
	defs := v.AdditionalPrinterColumns
	if len(defs) == 0 {
		defs = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Age", Type: "date", JSONPath: createdPath, Description: metaDoc["creationTimestamp"]}}
	}
	heads := []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: metaDoc["name"]}}
	var cols []column
	for _, d := range defs {
		if _, err := parsePath(d.JSONPath); err != nil {
			break
		}
		text := d.Description
		if text == "" {
			text = "Custom resource definition column (in JSONPath format): " + d.JSONPath
		}
		heads = append(heads, metav1.TableColumnDefinition{Name: d.Name, Type: d.Type, Format: d.Format, Description: text, Priority: d.Priority})
		cols = append(cols, column{path: d.JSONPath, kind: d.Type, meta: strings.Contains(d.JSONPath, "metadata") || strings.Contains(d.JSONPath, "..")})
	}
	pool := sync.Pool{New: func() any { return newPrinter(cols) }}
	return heads, func(o kinds.Object, now time.Time) []any {
		p := pool.Get().(*printer)
		defer pool.Put(p)
		return p.cells(o, now)
	}
}

func parsePath(path string) (*jsonpath.JSONPath, error) {
	p := jsonpath.New("column")
	if err := p.Parse("{" + path + "}"); err != nil {
		return nil, err
	}
	return p.AllowMissingKeys(true), nil
}

// printer makes the cells of one object after the other.
type printer struct {
	cols  []column
	paths []*jsonpath.JSONPath // nil: none is needed
	meta  bool
	buf   bytes.Buffer
}

func newPrinter(cols []column) *printer {
	p := &printer{cols: cols, paths: make([]*jsonpath.JSONPath, len(cols))}
	for i := range cols {
		if cols[i].path == createdPath && cols[i].kind == "date" {
			continue
		}
		p.paths[i], _ = parsePath(cols[i].path) // it could be parsed before
		p.meta = p.meta || cols[i].meta
	}
	return p
}

func (p *printer) cells(obj kinds.Object, now time.Time) []any {
	cells := make([]any, 1, 1+len(p.cols))
	cells[0] = obj.GetName()
	o, ok := obj.(*dynamic.Object)
	if !ok {
		return cells
	}
	m := o.Fields
	if p.meta {
		if whole, err := o.Content("", ""); err == nil {
			m = whole
		}
	}
	for i := range p.cols {
		if p.paths[i] == nil {
			cells = append(cells, age(o.CreationTimestamp, now))
			continue
		}
		cells = append(cells, p.cell(i, m, now))
	}
	return cells
}

// cell is nil where there is nothing to show.
func (p *printer) cell(i int, m map[string]any, now time.Time) any {
	found, err := p.paths[i].FindResults(m)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	value := found[0][0].Interface()
	if p.cols[i].kind != "string" {
		return cellOf(p.cols[i].kind, value, now)
	}
	p.buf.Reset()
	if err := p.paths[i].PrintResults(&p.buf, []reflect.Value{reflect.ValueOf(value)}); err != nil {
		return nil
	}
	return p.buf.String()
}

func cellOf(kind string, value any, now time.Time) any {
	switch kind {
	case "integer":
		switch v := value.(type) {
		case int64:
			return v
		case float64:
			return int64(v)
		case json.Number:
			if n, err := v.Int64(); err == nil {
				return n
			}
		}
	case "number":
		switch v := value.(type) {
		case int64:
			return float64(v)
		case float64:
			return v
		case json.Number:
			if f, err := v.Float64(); err == nil {
				return f
			}
		}
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "date":
		if s, ok := value.(string); ok {
			var t metav1.Time
			if err := t.UnmarshalQueryParameter(s); err != nil {
				return "<invalid>"
			}
			return age(t, now)
		}
	}
	return nil
}

func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// selectable are the version's fields for field selectors, by name.
func selectable(v *apiextensionsv1.CustomResourceDefinitionVersion) map[string]func(kinds.Object) string {
	if len(v.SelectableFields) == 0 {
		return nil
	}
	out := map[string]func(kinds.Object) string{}
	for _, f := range v.SelectableFields {
		// A selectable path is a chain of names: validation lets no other through.
		path := splitPath(f.JSONPath)
		out[strings.TrimPrefix(f.JSONPath, ".")] = func(o kinds.Object) string { return fieldText(fieldsOf(o), path) }
	}
	return out
}

func fieldText(m map[string]any, path []string) string {
	var v any = m
	for _, name := range path {
		next, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = next[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
