package codec

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/kinds/dynamic"
)

// Strict says what becomes of unknown and duplicate fields.
type Strict uint8

// Ignore passes them over; Report collects them.
const (
	Ignore Strict = iota
	Report
)

// IsProtobuf tells whether data begins as Kubernetes' protobuf form does.
func IsProtobuf(data []byte) bool { return bytes.HasPrefix(data, []byte(protoPrefix)) }

var errEnvelope = errors.New("the protobuf envelope is malformed")

// Envelope takes Kubernetes' protobuf form apart; body is part of data.
func Envelope(data []byte) (gvk schema.GroupVersionKind, body []byte, err error) {
	if !IsProtobuf(data) {
		return gvk, nil, errors.New("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
	}
	data = data[len(protoPrefix):]
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return gvk, nil, errEnvelope
		}
		data = data[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, data); n < 0 {
				return gvk, nil, errEnvelope
			}
			data = data[n:]
			continue
		}
		val, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return gvk, nil, errEnvelope
		}
		data = data[n:]
		switch num {
		case 1:
			if gvk, err = typeMeta(val); err != nil {
				return gvk, nil, err
			}
		case 2:
			body = val
		}
	}
	return gvk, body, nil
}

func typeMeta(data []byte) (schema.GroupVersionKind, error) {
	var tm runtime.TypeMeta
	var u runtime.Unknown
	// Unknown's first field is the TypeMeta message itself.
	wrapped := protowire.AppendTag(nil, 1, protowire.BytesType)
	wrapped = protowire.AppendBytes(wrapped, data)
	if err := u.Unmarshal(wrapped); err != nil {
		return schema.GroupVersionKind{}, err
	}
	tm = u.TypeMeta
	gv, err := schema.ParseGroupVersion(tm.APIVersion)
	return gv.WithKind(tm.Kind), err
}

// DecodeInto reads one object of medium m into into and says which type the data
// claim to be (empty fields where they do not say). strictErrs are unknown and
// duplicate fields, found with Report.
func DecodeInto(m Media, data []byte, into runtime.Object, s Strict) (gvk schema.GroupVersionKind, strictErrs []error, err error) {
	switch m {
	case Protobuf:
		gvk, body, err := Envelope(data)
		if err != nil {
			return gvk, nil, err
		}
		p, ok := into.(protoUnmarshaler)
		if !ok {
			return gvk, nil, fmt.Errorf("object %T does not implement the protobuf marshalling interface", into)
		}
		return gvk, nil, p.Unmarshal(body)
	case YAML:
		converted, err := yaml.YAMLToJSON(data)
		if err != nil {
			return gvk, nil, err
		}
		if s == Report {
			if _, err := yaml.YAMLToJSONStrict(data); err != nil {
				strictErrs = append(strictErrs, yamlStrict(err)...)
			}
		}
		data = converted
	}
	if d, ok := into.(*dynamic.Object); ok {
		more, err := decodeDynamic(data, d, s)
		return typeOf(into), append(strictErrs, more...), err
	}
	if s == Report {
		more, err := kjson.UnmarshalStrict(data, into)
		if err != nil {
			return typeOf(into), nil, err
		}
		return typeOf(into), append(strictErrs, more...), nil
	}
	err = kjson.UnmarshalCaseSensitivePreserveInts(data, into)
	return typeOf(into), nil, err
}

// yamlStrict is a seam for the wording of duplicate keys.
func yamlStrict(err error) []error { return []error{err} }

func typeOf(obj runtime.Object) schema.GroupVersionKind {
	return obj.GetObjectKind().GroupVersionKind()
}
