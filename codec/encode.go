package codec

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/kinds"
)

// Media is an encoding of API objects.
type Media uint8

// The encodings; their values index caches.
const (
	JSON Media = iota
	YAML
	Protobuf
)

// Content types.
const (
	TypeJSON     = "application/json"
	TypeYAML     = "application/yaml"
	TypeProtobuf = "application/vnd.kubernetes.protobuf"
)

// ContentType is the medium's MIME type.
func (m Media) ContentType() string {
	switch m {
	case YAML:
		return TypeYAML
	case Protobuf:
		return TypeProtobuf
	}
	return TypeJSON
}

// protoPrefix begins every protobuf object (apimachinery,
// runtime/serializer/protobuf).
const protoPrefix = "k8s\x00"

type protoMarshaler interface {
	Size() int
	MarshalToSizedBuffer(data []byte) (int, error)
}

// Unpacker is an object of the cache that stands for another one, which takes more
// memory.
type Unpacker interface {
	Unpacked() (runtime.Object, error)
}

type protoUnmarshaler interface {
	Unmarshal(data []byte) error
}

// HasProtobuf tells whether objects of obj's type have a protobuf form.
func HasProtobuf(obj runtime.Object) bool {
	_, ok := obj.(protoMarshaler)
	return ok
}

// Body encodes obj without its kind and apiVersion, which must be empty in obj.
// For YAML it is the JSON body: YAML is made of whole documents only.
func Body(m Media, obj runtime.Object) ([]byte, error) {
	if m != Protobuf {
		b, err := json.Marshal(obj)
		if err != nil {
			return nil, fmt.Errorf("codec: encode %T: %w", obj, err)
		}
		return b, nil
	}
	if u, ok := obj.(Unpacker); ok {
		var err error
		if obj, err = u.Unpacked(); err != nil {
			return nil, err
		}
	}
	p, ok := obj.(protoMarshaler)
	if !ok {
		return nil, fmt.Errorf("codec: %T has no protobuf form", obj)
	}
	b := make([]byte, p.Size())
	n, err := p.MarshalToSizedBuffer(b)
	if err != nil {
		return nil, fmt.Errorf("codec: encode %T: %w", obj, err)
	}
	return b[len(b)-n:], nil
}

// AppendObject appends the whole object whose body is given.
func AppendObject(dst []byte, m Media, gvk schema.GroupVersionKind, body []byte) []byte {
	switch m {
	case Protobuf:
		return AppendEnvelope(dst, gvk, body)
	case YAML:
		y, err := yaml.JSONToYAML(AppendObject(nil, JSON, gvk, body))
		if err != nil { // our own JSON is always convertible
			return append(dst, body...)
		}
		return append(dst, y...)
	}
	return AppendTyped(dst, gvk, body)
}

// AppendTyped appends a JSON body with kind and apiVersion in front.
func AppendTyped(dst []byte, gvk schema.GroupVersionKind, body []byte) []byte {
	if gvk.Empty() || len(body) < 2 || body[0] != '{' {
		return append(dst, body...)
	}
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","apiVersion":"`...)
	dst = append(dst, apiVersion...)
	dst = append(dst, '"')
	if body[1] != '}' {
		dst = append(dst, ',')
	}
	return append(dst, body[1:]...)
}

// AppendEnvelope appends Kubernetes' protobuf form: a prefix and a
// runtime.Unknown with the type and the object's bytes.
func AppendEnvelope(dst []byte, gvk schema.GroupVersionKind, body []byte) []byte {
	dst = AppendEnvelopeHead(dst, gvk, len(body))
	dst = append(dst, body...)
	return AppendEnvelopeTail(dst)
}

// EnvelopeTail is the length of what AppendEnvelopeTail appends.
const EnvelopeTail = 4

// AppendEnvelopeHead appends what comes before a body of size bytes.
func AppendEnvelopeHead(dst []byte, gvk schema.GroupVersionKind, size int) []byte {
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	meta := protowire.SizeTag(1) + protowire.SizeBytes(len(apiVersion)) + protowire.SizeTag(2) + protowire.SizeBytes(len(kind))
	dst = append(dst, protoPrefix...)
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(meta))
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendString(dst, apiVersion)
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	dst = protowire.AppendString(dst, kind)
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(size))
}

// AppendEnvelopeTail appends what comes behind the body: contentEncoding and
// contentType, empty, as Kubernetes writes them.
func AppendEnvelopeTail(dst []byte) []byte { return append(dst, 0x1a, 0, 0x22, 0) }

// Object encodes obj, whose kind and apiVersion fields are empty, whole.
func Object(m Media, gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, error) {
	body, err := Body(m, obj)
	if err != nil {
		return nil, err
	}
	return AppendObject(make([]byte, 0, len(body)+64), m, gvk, body), nil
}

// EncodeStored is the form in which the store keeps obj (a hub object without a
// resourceVersion): protobuf where there is one, else JSON.
func EncodeStored(k *kinds.Kind, obj kinds.Object) ([]byte, error) {
	if k.EncodeStored != nil {
		return k.EncodeStored(obj)
	}
	p, ok := obj.(protoMarshaler)
	if !ok {
		return Object(JSON, k.GVK(), obj)
	}
	body := p.Size()
	gvk := k.GVK()
	head := make([]byte, 0, body+len(gvk.Group)+len(gvk.Version)+len(gvk.Kind)+32)
	head = AppendEnvelopeHead(head, gvk, body)
	at := len(head)
	head = head[:at+body]
	if _, err := p.MarshalToSizedBuffer(head[at:]); err != nil {
		return nil, fmt.Errorf("codec: encode %s: %w", k.Kind, err)
	}
	return AppendEnvelopeTail(head), nil
}

// DecodeStored reads back what EncodeStored wrote.
func DecodeStored(k *kinds.Kind, data []byte) (kinds.Object, error) {
	if k.DecodeStored != nil && !IsProtobuf(data) {
		obj, err := k.DecodeStored(data)
		if err != nil {
			return nil, fmt.Errorf("codec: decode stored %s: %w", k.Kind, err)
		}
		return obj, nil
	}
	obj := k.New()
	if !IsProtobuf(data) {
		if err := json.Unmarshal(data, obj); err != nil {
			return nil, fmt.Errorf("codec: decode stored %s: %w", k.Kind, err)
		}
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return obj, nil
	}
	_, body, err := Envelope(data)
	if err != nil {
		return nil, fmt.Errorf("codec: decode stored %s: %w", k.Kind, err)
	}
	p, ok := obj.(protoUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("codec: decode stored %s: %T has no protobuf form", k.Kind, obj)
	}
	if err := p.Unmarshal(body); err != nil {
		return nil, fmt.Errorf("codec: decode stored %s: %w", k.Kind, err)
	}
	return obj, nil
}
