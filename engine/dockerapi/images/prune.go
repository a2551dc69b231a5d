package images

import (
	"context"
	"net/http"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) prune(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	report, err := a.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, report)
}

// PruneReport is what pruning took away.
type PruneReport struct {
	ImagesDeleted  []imagetypes.DeleteResponse
	SpaceReclaimed uint64
}

// claim is a container's hold on an image.
type claim struct {
	target digest.Digest
	ref    string // as the container's creator named the image
}

// spare lists which of the candidates may go, in their order. Of an image that a
// container uses stay the name by which that was created, the last name, and what has
// no name.
func spare(all, candidates []engine.ImageRecord, claims []claim) []engine.ImageRecord {
	named, used := map[string]bool{}, map[digest.Digest]bool{}
	for _, c := range claims {
		used[c.target] = true
		ref, err := reference.ParseNormalizedNamed(c.ref)
		if err != nil {
			continue
		}
		named[reference.TagNameOnly(ref).String()] = true
		if t, ok := ref.(reference.NamedTagged); ok {
			if tagged, err := reference.WithTag(reference.TrimNamed(ref), t.Tag()); err == nil {
				named[tagged.String()] = true
			}
		}
	}
	left := map[digest.Digest]int{}
	for _, r := range all {
		left[r.Target.Digest]++
	}
	var out []engine.ImageRecord
	for _, r := range candidates {
		d := r.Target.Digest
		if used[d] && (r.Name == "" || named[r.Name] || left[d] == 1) {
			continue
		}
		left[d]--
		out = append(out, r)
	}
	return out
}

// Prune removes images that no container uses: those without a name, or all where
// the filter dangling is false.
func (a *Area) Prune(ctx context.Context, f filters.Args) (*PruneReport, error) {
	if !a.pruning.CompareAndSwap(false, true) {
		return nil, route.Conflictf("a prune operation is already running")
	}
	defer a.pruning.Store(false)
	if err := f.Check("dangling", "label", "label!", "until"); err != nil {
		return nil, err
	}
	dangling, err := f.Bool("dangling", true)
	if err != nil {
		return nil, err
	}
	delete(f, "dangling")
	all, err := a.o.Store.Records(ctx)
	if err != nil {
		return nil, err
	}
	variants, err := a.variantsOf(ctx, all)
	if err != nil {
		return nil, err
	}
	want, err := a.tests(ctx, f, all, time.Now())
	if err != nil {
		return nil, err
	}
	var candidates []engine.ImageRecord
	for _, rec := range all {
		if dangling && rec.Name != "" {
			continue
		}
		ok, err := want(&candidate{rec, variants[rec.Target.Digest]})
		if err != nil {
			return nil, err
		}
		if ok {
			candidates = append(candidates, rec)
		}
	}
	claims, err := a.claims(ctx, variants)
	if err != nil {
		return nil, err
	}
	report := &PruneReport{}
	left := map[digest.Digest]int{}
	for _, r := range all {
		left[r.Target.Digest]++
	}
	for _, rec := range spare(all, candidates, claims) {
		if err := a.o.Store.Untag(ctx, []engine.ImageRecord{rec}, engine.UntagOptions{}); err != nil {
			continue // used or gone meanwhile
		}
		d := &removal{untag: []engine.ImageRecord{rec}}
		if left[rec.Target.Digest]--; left[rec.Target.Digest] == 0 {
			d.delete = rec.Target.Digest
		}
		report.ImagesDeleted = append(report.ImagesDeleted, a.told(d, nil)...)
	}
	report.SpaceReclaimed = reclaimed(variants, left)
	a.o.Events.Publish(events.ImageEventType, events.ActionPrune, "", map[string]string{"reclaimed": itoa(report.SpaceReclaimed)})
	return report, nil
}

// variantsOf are the variants of all targets.
func (a *Area) variantsOf(ctx context.Context, all []engine.ImageRecord) (map[digest.Digest][]engine.Variant, error) {
	out := map[digest.Digest][]engine.Variant{}
	for _, r := range all {
		if _, ok := out[r.Target.Digest]; ok {
			continue
		}
		vs, err := a.o.Store.Variants(ctx, r.Target)
		if err != nil {
			return nil, err
		}
		out[r.Target.Digest] = vs
	}
	return out, nil
}

// claims are those of all containers of the machine.
func (a *Area) claims(ctx context.Context, variants map[digest.Digest][]engine.Variant) ([]claim, error) {
	uses, err := a.users(ctx)
	if err != nil {
		return nil, err
	}
	var refs map[string]string
	if a.o.Containers != nil {
		refs = a.o.Containers.References(ctx)
	}
	var out []claim
	for target, vs := range variants {
		for _, u := range usersOf(vs, uses) {
			ref, ok := refs[u.id]
			if !ok {
				ref = u.image
			}
			out = append(out, claim{target, ref})
		}
	}
	return out, nil
}

// reclaimed is how many bytes only the images took that are not left.
func reclaimed(variants map[digest.Digest][]engine.Variant, left map[digest.Digest]int) uint64 {
	gone, stays := map[digest.Digest]int64{}, map[digest.Digest]bool{}
	for target, vs := range variants {
		note := func(d digest.Digest, size int64) {
			if left[target] > 0 {
				stays[d] = true
			} else {
				gone[d] = size
			}
		}
		for _, v := range vs {
			for _, b := range v.Blobs {
				note(b.Digest, b.Size)
			}
			for _, l := range v.Chains {
				note("chain "+l.Chain, l.Size)
			}
		}
	}
	var sum uint64
	for d, size := range gone {
		if !stays[d] {
			sum += uint64(size)
		}
	}
	return sum
}
