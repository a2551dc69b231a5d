package codec

import "google.golang.org/protobuf/encoding/protowire"

// fieldMetadata is an object's metadata, fieldRevision the resourceVersion in it
// (k8s.io/apimachinery, meta/v1/generated.proto).
const (
	fieldMetadata = 1
	fieldRevision = 6
)

// Revise makes the protobuf Body of an object of the form in which the store keeps it
// (see EncodeStored) and its resourceVersion, without encoding the object again. It
// returns nil for what is stored otherwise.
func Revise(stored []byte, revision string) []byte {
	if !IsProtobuf(stored) {
		return nil
	}
	_, body, err := Envelope(stored)
	if err != nil {
		return nil
	}
	tag, typ, n := protowire.ConsumeTag(body)
	if n < 0 || tag != fieldMetadata || typ != protowire.BytesType {
		return nil
	}
	meta, m := protowire.ConsumeBytes(body[n:])
	if m < 0 {
		return nil
	}
	before, after, ok := cutRevision(meta)
	if !ok {
		return nil
	}
	rest := body[n+m:]
	size := len(before) + 1 + protowire.SizeBytes(len(revision)) + len(after)
	out := make([]byte, 0, 1+protowire.SizeBytes(size)+len(rest))
	out = protowire.AppendTag(out, fieldMetadata, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(size))
	out = append(out, before...)
	out = protowire.AppendTag(out, fieldRevision, protowire.BytesType)
	out = protowire.AppendString(out, revision)
	out = append(out, after...)
	return append(out, rest...)
}

// cutRevision cuts the empty resourceVersion out of encoded metadata.
func cutRevision(meta []byte) (before, after []byte, ok bool) {
	for at := 0; at < len(meta); {
		number, typ, n := protowire.ConsumeTag(meta[at:])
		if n < 0 {
			return nil, nil, false
		}
		m := protowire.ConsumeFieldValue(number, typ, meta[at+n:])
		if m < 0 {
			return nil, nil, false
		}
		if number == fieldRevision {
			return meta[:at], meta[at+n+m:], typ == protowire.BytesType && m == 1
		}
		at += n + m
	}
	return nil, nil, false
}
