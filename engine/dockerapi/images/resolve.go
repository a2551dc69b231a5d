package images

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// errNoImage is Docker's word for what is not there.
func errNoImage(ref reference.Reference) error {
	name := ""
	switch r := ref.(type) {
	case reference.Named:
		name = reference.FamiliarString(reference.TagNameOnly(r))
	case nil:
	default:
		name = ref.String()
	}
	return route.NotFoundf("No such image: %s", name)
}

// truncatedID is ref without "sha256:" if it can be an id or the beginning of one.
func truncatedID(ref string) string {
	id := strings.TrimPrefix(ref, "sha256:")
	if len(id) < 4 || len(id) > 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return ""
	}
	return id
}

// resolve finds the record that ref means, as Docker does: by digest, by name, by
// the beginning of an id.
func resolve(all []engine.ImageRecord, ref string) (*engine.ImageRecord, error) {
	parsed, err := reference.ParseAnyReference(ref)
	if err != nil {
		return nil, route.Invalid(err)
	}
	if d, ok := parsed.(reference.Digested); ok {
		named, isNamed := parsed.(reference.Named)
		for i := range all {
			if all[i].Target.Digest != d.Digest() {
				continue
			}
			if !isNamed || repository(all[i].Name) == named.Name() {
				return &all[i], nil
			}
		}
		return nil, errNoImage(parsed)
	}
	named := parsed.(reference.Named)
	full := reference.TagNameOnly(named).String()
	for i := range all {
		if all[i].Name == full {
			return &all[i], nil
		}
	}
	found := byID(all, truncatedID(ref))
	if len(found) == 0 {
		return nil, errNoImage(parsed)
	}
	for _, r := range found[1:] {
		if r.Target.Digest != found[0].Target.Digest {
			return nil, route.NotFound(errors.New("ambiguous reference"))
		}
	}
	return &found[0], nil
}

// byID are the records whose target's digest begins with id; "" has none.
func byID(all []engine.ImageRecord, id string) []engine.ImageRecord {
	var out []engine.ImageRecord
	for _, r := range all {
		if id != "" && strings.HasPrefix(r.Target.Digest.Encoded(), id) {
			out = append(out, r)
		}
	}
	return out
}

// withTarget are the records of one target.
func withTarget(all []engine.ImageRecord, d digest.Digest) []engine.ImageRecord {
	var out []engine.ImageRecord
	for _, r := range all {
		if r.Target.Digest == d {
			out = append(out, r)
		}
	}
	return out
}

// repository is a record's name without tag and digest, "" where it has none.
func repository(name string) string {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return n.Name()
}

func isIDPrefix(id, prefix string) bool {
	return strings.HasPrefix(id, prefix) || strings.HasPrefix(strings.TrimPrefix(id, "sha256:"), prefix)
}

// short is the first 12 digits of an id.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

// find reads the records and resolves ref.
func (a *Area) find(ctx context.Context, ref string) (*engine.ImageRecord, []engine.ImageRecord, error) {
	all, err := a.o.Store.Records(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, err := resolve(all, ref)
	return r, all, err
}

// best is the variant for a platform, or that for the machine's where none is asked
// for, or the first; nil without. What is only partly here is taken too.
func best(vs []engine.Variant, want *imagespec.Platform) *engine.Variant {
	if want != nil {
		return fitting(vs, platforms.OnlyStrict(*want))
	}
	if v := fitting(vs, platforms.Default()); v != nil {
		return v
	}
	return fitting(vs, platforms.All)
}

// runnable is the variant of which a container is made here.
func runnable(vs []engine.Variant, want *imagespec.Platform) *engine.Variant {
	if want != nil {
		return fitting(vs, platforms.OnlyStrict(*want))
	}
	return fitting(vs, platforms.Default())
}

func fitting(vs []engine.Variant, match platforms.MatchComparer) *engine.Variant {
	var out *engine.Variant
	for i := range vs {
		v := &vs[i]
		if !v.Image || !match.Match(v.Platform) {
			continue
		}
		if out == nil || v.Config != nil && out.Config == nil || (v.Config != nil) == (out.Config != nil) && match.Less(v.Platform, out.Platform) {
			out = v
		}
	}
	return out
}

// errNoPlatform is Docker's word for an image without the platform.
func errNoPlatform(name string, want *imagespec.Platform) error {
	if want == nil {
		return route.NotFoundf("image with reference %s was found but does not provide any platform", name)
	}
	return route.NotFoundf("image with reference %s was found but does not provide the specified platform (%s)", name, platforms.FormatAll(*want))
}

// config decodes a variant's config with Docker's additions; what is not here is
// empty.
func config(v *engine.Variant) (dockerspec.DockerOCIImage, error) {
	var c dockerspec.DockerOCIImage
	if v == nil || v.Config == nil {
		return c, nil
	}
	err := json.Unmarshal(v.Config, &c)
	return c, err
}

// Found is an image as containers are made of it.
type Found struct {
	ID         string        // of the manifest or index
	ConfigID   digest.Digest // by which the engine knows it
	Config     []byte
	Descriptor imagespec.Descriptor // of the manifest
	Name       string               // normalised; "" where it was not found by one
}

// Find is for the containers' area: an image by reference or id, for a platform.
func (a *Area) Find(ctx context.Context, ref string, want *imagespec.Platform) (*Found, error) {
	rec, _, err := a.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	vs, err := a.o.Store.Variants(ctx, rec.Target)
	if err != nil {
		return nil, err
	}
	v := runnable(vs, want)
	if v == nil || v.Config == nil {
		return nil, errNoPlatform(ref, want)
	}
	return &Found{ID: rec.Target.Digest.String(), ConfigID: v.ConfigID, Config: v.Config, Descriptor: v.Descriptor, Name: rec.Name}, nil
}

// platform reads a parameter that is the JSON of a platform.
func platform(text string) (*imagespec.Platform, error) {
	if text == "" {
		return nil, nil
	}
	var p imagespec.Platform
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, route.Invalidf("failed to parse platform: %w", err)
	}
	if p.OS == "" && (p.Architecture != "" || p.Variant != "") {
		return nil, route.Invalidf("both OS and Architecture must be provided")
	}
	if p.OS != "" && p.Architecture == "" {
		return nil, route.Invalidf("both OS and Architecture must be provided")
	}
	return &p, nil
}

func platformList(texts []string) ([]imagespec.Platform, error) {
	var out []imagespec.Platform
	for _, t := range texts {
		p, err := platform(t)
		if err != nil {
			return nil, err
		}
		if p != nil {
			out = append(out, *p)
		}
	}
	return out, nil
}
