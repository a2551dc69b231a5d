package images

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// summary is an entry of the list; VirtualSize is for API versions before 1.44.
type summary struct {
	imagetypes.Summary
	VirtualSize *int64 `json:"VirtualSize,omitempty"`
}

func (a *Area) list(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	if err := f.Check("before", "dangling", "label", "label!", "reference", "since", "until"); err != nil {
		return err
	}
	if old := r.Form.Get("filter"); old != "" && r.Before("1.25") && !f.Has("reference") {
		f["reference"] = []string{old}
	}
	if r.Since("1.54") && r.Bool("identity") && !r.Bool("manifests") {
		return route.Invalidf("conflicting options: identity requires manifests=1")
	}
	images, err := a.summaries(r.Context(), f, r.Bool("all"))
	if err != nil {
		return err
	}
	if r.Since("1.42") && r.Bool("shared-size") {
		shareSizes(images)
	}
	out := make([]summary, len(images))
	for i, img := range images {
		s := &out[i]
		s.Summary = img.Summary
		if !r.Since("1.47") || !r.Bool("manifests") {
			s.Manifests = nil
		}
		switch {
		case r.Before("1.43") && len(s.RepoTags) == 0 && len(s.RepoDigests) == 0:
			s.RepoTags, s.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		case r.Since("1.43"):
			s.RepoTags, s.RepoDigests = list(s.RepoTags), list(s.RepoDigests)
		}
		if r.Before("1.48") {
			s.Descriptor = nil
		}
		if r.Before("1.51") {
			s.Containers = -1
		}
		if r.Before("1.44") {
			s.VirtualSize = &s.Size
		}
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// list is never null in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// shown is an image of the list with what sizes are made of.
type shown struct {
	imagetypes.Summary
	variants []engine.Variant
}

// summaries are the images that f wants, the newest first.
func (a *Area) summaries(ctx context.Context, f filters.Args, everything bool) ([]shown, error) {
	all, err := a.o.Store.Records(ctx)
	if err != nil {
		return nil, err
	}
	want, err := a.tests(ctx, f, all, time.Now())
	if err != nil {
		return nil, err
	}
	uses, err := a.users(ctx)
	if err != nil {
		return nil, err
	}
	parents := map[digest.Digest]bool{}
	for _, r := range all {
		parents[r.Parent] = true
	}
	variants := map[digest.Digest][]engine.Variant{}
	shows := map[digest.Digest]engine.ImageRecord{}
	tags := map[digest.Digest][]string{}
	var order []digest.Digest
	for _, r := range all {
		d := r.Target.Digest
		if r.Name == "" && !everything && parents[d] {
			continue
		}
		if variants[d] == nil {
			if variants[d], err = a.o.Store.Variants(ctx, r.Target); err != nil {
				return nil, err
			}
		}
		ok, err := want(&candidate{r, variants[d]})
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if _, seen := shows[d]; !seen {
			order = append(order, d)
			shows[d] = r
		}
		if r.Name != "" {
			shows[d] = r
			tags[d] = append(tags[d], engine.FamiliarRef(r.Name))
		}
	}
	out := make([]shown, 0, len(order))
	for _, d := range order {
		s, err := summaryOf(shows[d], tags[d], variants[d], uses)
		if err != nil {
			return nil, err
		}
		out = append(out, shown{s, variants[d]})
	}
	slices.SortStableFunc(out, func(a, b shown) int { return int(min(max(b.Created-a.Created, -1), 1)) })
	return out, nil
}

// summaryOf makes an entry of the list.
func summaryOf(rec engine.ImageRecord, tags []string, vs []engine.Variant, uses []*engine.Container) (imagetypes.Summary, error) {
	target := rec.Target
	s := imagetypes.Summary{ID: target.Digest.String(), RepoTags: tags, Descriptor: &target, SharedSize: -1, Containers: -1}
	var used int64
	s.Manifests, s.Size, used = manifests(vs, uses)
	b := best(vs, nil)
	if b == nil {
		s.RepoDigests = []string{target.Digest.String()}
		return s, nil
	}
	s.Containers, s.ParentID = used, rec.Parent.String()
	if rec.Name != "" {
		s.RepoDigests = []string{digested(rec)}
	}
	cfg, err := config(b)
	if err != nil {
		return s, err
	}
	if cfg.Created != nil {
		s.Created = cfg.Created.Unix()
	}
	if s.Labels = cfg.Config.Labels; s.Labels == nil {
		s.Labels = map[string]string{}
	}
	return s, nil
}

// digested is a record's short name with the digest in the place of the tag.
func digested(rec engine.ImageRecord) string {
	n, err := reference.ParseNormalizedNamed(rec.Name)
	if err != nil {
		return rec.Name
	}
	d, err := reference.WithDigest(reference.TrimNamed(n), rec.Target.Digest)
	if err != nil {
		return rec.Name
	}
	return reference.FamiliarString(d)
}

// manifests are the variants as the API shows them, the bytes of all of them, and how
// many containers use them.
func manifests(vs []engine.Variant, uses []*engine.Container) (out []imagetypes.ManifestSummary, total, used int64) {
	for _, v := range vs {
		m := imagetypes.ManifestSummary{ID: v.Descriptor.Digest.String(), Available: v.Available, Descriptor: v.Descriptor, Kind: imagetypes.ManifestKindUnknown}
		m.Size.Content, m.Size.Total = v.Content, v.Content
		switch {
		case v.For != "":
			m.Kind = imagetypes.ManifestKindAttestation
			m.AttestationData = &imagetypes.AttestationProperties{For: v.For}
		case v.Image:
			m.Kind = imagetypes.ManifestKindImage
			m.ImageData = &imagetypes.ImageProperties{Platform: v.Platform}
			for _, l := range v.Chains {
				m.ImageData.Size.Unpacked += l.Size
			}
			m.Size.Total += m.ImageData.Size.Unpacked
			for _, u := range usersOf([]engine.Variant{v}, uses) {
				m.ImageData.Containers = append(m.ImageData.Containers, u.id)
				used++
			}
		}
		total += m.Size.Total
		out = append(out, m)
	}
	return out, total, used
}

// shareSizes fills in what images of the list have in common with others of it.
func shareSizes(images []shown) {
	type piece struct{ size, users int64 }
	pieces := map[digest.Digest]*piece{}
	parts := make([]map[digest.Digest]bool, len(images))
	for i := range images {
		parts[i] = map[digest.Digest]bool{}
		add := func(d digest.Digest, size int64) {
			if parts[i][d] {
				return
			}
			parts[i][d] = true
			if pieces[d] == nil {
				pieces[d] = &piece{size: size}
			}
			pieces[d].users++
		}
		for _, v := range images[i].variants {
			for _, l := range v.Chains {
				add("chain "+l.Chain, l.Size)
			}
			if v.Available {
				for _, b := range v.Blobs {
					add(b.Digest, b.Size)
				}
			}
		}
	}
	for i := range images {
		images[i].SharedSize = 0
		for d := range parts[i] {
			if p := pieces[d]; p.users > 1 {
				images[i].SharedSize += p.size
			}
		}
	}
}

// tagsOf are the short names and the digests of a target's records.
func tagsOf(records []engine.ImageRecord) (tags, digests []string) {
	for _, r := range records {
		if r.Name == "" {
			continue
		}
		tags = append(tags, engine.FamiliarRef(r.Name))
		if d := digested(r); !slices.Contains(digests, d) {
			digests = append(digests, d)
		}
	}
	return tags, digests
}

// media tells whether a descriptor is of an index.
func isIndex(d imagespec.Descriptor) bool {
	return strings.Contains(d.MediaType, "index") || strings.Contains(d.MediaType, "manifest.list")
}
