package images

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	imagetypes "github.com/moby/moby/api/types/image"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// predicateType is the annotation of a layer of an attestation that says what the
// statement in it is about.
const predicateType = "in-toto.io/predicate-type"

// attestations answers with the statements about an image that came with it.
func (a *Area) attestations(w http.ResponseWriter, r *route.Request) error {
	if len(r.Form["platform"]) > 1 {
		return route.Invalidf("only one platform value is currently supported")
	}
	want, err := platform(r.Form.Get("platform"))
	if err != nil {
		return err
	}
	var types []string
	for _, t := range r.Form["type"] {
		if t = strings.TrimSpace(t); t != "" {
			types = append(types, t)
		}
	}
	rec, _, err := a.find(r.Context(), r.Var("name"))
	if err != nil {
		return err
	}
	out := []imagetypes.AttestationStatement{}
	if !isIndex(rec.Target) {
		return route.WriteJSON(w, http.StatusOK, out)
	}
	vs, err := a.o.Store.Variants(r.Context(), rec.Target)
	if err != nil {
		return err
	}
	v := runnable(vs, want)
	if v == nil {
		return errNoPlatform(r.Var("name"), want)
	}
	for _, s := range statements(vs, v, types) {
		if r.Bool("statement") {
			b, err := a.o.Store.Blob(r.Context(), s.Descriptor)
			if err != nil {
				return fmt.Errorf("attestation statement %s: %w", s.Descriptor.Digest, err)
			}
			raw := json.RawMessage(b)
			s.Statement = &raw
		}
		out = append(out, s)
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// statements are those about v that have one of the types, or any where types is
// empty.
func statements(vs []engine.Variant, v *engine.Variant, types []string) []imagetypes.AttestationStatement {
	var out []imagetypes.AttestationStatement
	for _, a := range vs {
		if a.For != v.Descriptor.Digest {
			continue
		}
		for _, l := range a.Manifest.Layers {
			t := l.Annotations[predicateType]
			if t == "" || len(types) > 0 && !slices.Contains(types, t) {
				continue
			}
			out = append(out, imagetypes.AttestationStatement{Descriptor: l, PredicateType: t})
		}
	}
	return out
}
