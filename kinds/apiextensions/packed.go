package apiextensions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"unique"

	"github.com/klauspost/compress/flate"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/kinds"
)

// Packed is a definition as the API server's cache and the store hold it. Schemas are
// nearly all of a definition, a megabyte and more as Go objects, and are seldom
// looked at: they are kept as compressed JSON.
type Packed struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// Spec is without the schemas of its versions.
	Spec   apiextensionsv1.CustomResourceDefinitionSpec
	Status apiextensionsv1.CustomResourceDefinitionStatus
	// schemas is a JSON list with what each version has in its field schema (null
	// where it has none), compressed by DEFLATE. Versions of a definition that differ
	// in other things share it.
	schemas unique.Handle[string]
}

// maxSchemas bounds what is decompressed: a definition comes in a request's body.
const maxSchemas = 64 << 20

var (
	deflaters = sync.Pool{New: func() any {
		w, err := flate.NewWriter(nil, flate.DefaultCompression)
		if err != nil { // the level is one of flate's own
			panic(err)
		}
		return w
	}}
	inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}
)

// pack takes d, of which it keeps parts.
func pack(obj kinds.Object) (kinds.Object, error) {
	if p, ok := obj.(*Packed); ok {
		return p, nil
	}
	d, ok := obj.(*definition)
	if !ok {
		return nil, fmt.Errorf("apiextensions: %T is no definition", obj)
	}
	p := &Packed{TypeMeta: d.TypeMeta, ObjectMeta: d.ObjectMeta, Spec: d.Spec, Status: d.Status}
	list := make([]*apiextensionsv1.CustomResourceValidation, len(d.Spec.Versions))
	p.Spec.Versions = make([]apiextensionsv1.CustomResourceDefinitionVersion, len(d.Spec.Versions))
	for i, v := range d.Spec.Versions {
		list[i], v.Schema = v.Schema, nil
		p.Spec.Versions[i] = v
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("apiextensions: schemas of %s: %w", d.Name, err)
	}
	var b bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	p.schemas = unique.Make(b.String())
	return p, nil
}

// unpack gives back what was packed, of which p keeps all but the schemas.
func unpack(obj kinds.Object) (kinds.Object, error) {
	p, ok := obj.(*Packed)
	if !ok {
		return obj, nil
	}
	return p.definition()
}

func (p *Packed) definition() (*definition, error) {
	text, err := p.text()
	if err != nil {
		return nil, err
	}
	var list []*apiextensionsv1.CustomResourceValidation
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("apiextensions: schemas of %s: %w", p.Name, err)
	}
	d := p.Slim()
	if len(list) != len(d.Spec.Versions) {
		return nil, fmt.Errorf("apiextensions: %s has %d versions and %d schemas", p.Name, len(d.Spec.Versions), len(list))
	}
	for i := range list {
		d.Spec.Versions[i].Schema = list[i]
	}
	return d, nil
}

func (p *Packed) text() ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(strings.NewReader(p.schemas.Value()), nil); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxSchemas+1))
	if err == nil && len(text) > maxSchemas {
		err = fmt.Errorf("they have more than %d bytes", maxSchemas)
	}
	if err != nil {
		return nil, fmt.Errorf("apiextensions: schemas of %s: %w", p.Name, err)
	}
	return text, nil
}

// Slim is the definition without its schemas. Its list of versions is the caller's,
// the rest is shared.
func (p *Packed) Slim() *definition {
	d := &definition{TypeMeta: p.TypeMeta, ObjectMeta: p.ObjectMeta, Spec: p.Spec, Status: p.Status}
	d.Spec.Versions = append([]apiextensionsv1.CustomResourceDefinitionVersion(nil), p.Spec.Versions...)
	return d
}

// With is d, a Slim form of p that may have changed, with p's schemas again.
func (p *Packed) With(d *definition) *Packed {
	return &Packed{TypeMeta: d.TypeMeta, ObjectMeta: d.ObjectMeta, Spec: d.Spec, Status: d.Status, schemas: p.schemas}
}

// Unpacked is the object as a Go type with a protobuf form.
func (p *Packed) Unpacked() (runtime.Object, error) { return p.definition() }

// DeepCopyObject implements runtime.Object.
func (p *Packed) DeepCopyObject() runtime.Object {
	c := *p // what is packed is never changed
	p.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	p.Spec.DeepCopyInto(&c.Spec)
	p.Status.DeepCopyInto(&c.Status)
	return &c
}

// MarshalJSON writes the definition whole; schemas go from text to text.
func (p *Packed) MarshalJSON() ([]byte, error) {
	text, err := p.text()
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("apiextensions: schemas of %s: %w", p.Name, err)
	}
	if len(list) != len(p.Spec.Versions) {
		return nil, fmt.Errorf("apiextensions: %s has %d versions and %d schemas", p.Name, len(p.Spec.Versions), len(list))
	}
	// A version is written with an empty schema, which is then filled in.
	const hole = `"schema":{}`
	d := p.Slim()
	for i := range list {
		if string(list[i]) != "null" {
			d.Spec.Versions[i].Schema = &apiextensionsv1.CustomResourceValidation{}
		}
	}
	versions := make([]json.RawMessage, len(list))
	for i := range list {
		b, err := json.Marshal(&d.Spec.Versions[i])
		if err != nil {
			return nil, err
		}
		if d.Spec.Versions[i].Schema != nil {
			before, after, ok := strings.Cut(string(b), hole)
			if !ok {
				return nil, fmt.Errorf("apiextensions: %s: a version without a schema", p.Name)
			}
			b = append(append(append([]byte(before), `"schema":`...), list[i]...), after...)
		}
		versions[i] = b
	}
	d.Spec.Versions = nil
	spec, err := json.Marshal(&d.Spec)
	if err != nil {
		return nil, err
	}
	const none = `"versions":null`
	before, after, ok := strings.Cut(string(spec), none)
	if !ok {
		return nil, fmt.Errorf("apiextensions: %s: a specification without versions", p.Name)
	}
	meta, err := json.Marshal(&struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        *metav1.ObjectMeta `json:"metadata"`
	}{p.TypeMeta, &p.ObjectMeta})
	if err != nil {
		return nil, err
	}
	status, err := json.Marshal(&p.Status)
	if err != nil {
		return nil, err
	}
	size := len(meta) + len(spec) + len(status) + 64
	for _, v := range versions {
		size += len(v) + 1
	}
	b := make([]byte, 0, size)
	b = append(b, meta[:len(meta)-1]...)
	b = append(b, `,"spec":`...)
	b = append(b, before...)
	b = append(b, `"versions":[`...)
	for i, v := range versions {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, v...)
	}
	b = append(b, ']')
	b = append(b, after...)
	b = append(b, `,"status":`...)
	b = append(b, status...)
	return append(b, '}'), nil
}

// stored is the form in the store: JSON, but for the schemas, which would have to be
// read and compressed at every start.
type stored struct {
	Kind       string                                          `json:"kind"`
	APIVersion string                                          `json:"apiVersion"`
	Metadata   *metav1.ObjectMeta                              `json:"metadata"`
	Spec       *apiextensionsv1.CustomResourceDefinitionSpec   `json:"spec"`
	Status     *apiextensionsv1.CustomResourceDefinitionStatus `json:"status"`
	Packed     []byte                                          `json:"packedSchemas,omitempty"`
}

func encodeStored(obj kinds.Object) ([]byte, error) {
	packed, err := pack(obj)
	if err != nil {
		return nil, err
	}
	p := packed.(*Packed)
	return json.Marshal(&stored{"CustomResourceDefinition", apiextensionsv1.SchemeGroupVersion.String(), &p.ObjectMeta, &p.Spec, &p.Status, []byte(p.schemas.Value())})
}

// decodeStored reads what encodeStored wrote, or a definition whole.
func decodeStored(data []byte) (kinds.Object, error) {
	p := &Packed{}
	s := stored{Metadata: &p.ObjectMeta, Spec: &p.Spec, Status: &p.Status}
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if s.Packed != nil {
		p.schemas = unique.Make(string(s.Packed))
		return p, nil
	}
	return pack(&definition{ObjectMeta: p.ObjectMeta, Spec: p.Spec, Status: p.Status})
}
