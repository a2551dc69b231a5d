package images

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// removal is what removing a reference comes to.
type removal struct {
	untag   []engine.ImageRecord // in order
	delete  digest.Digest        // the image that goes with them; "" is none
	dangle  bool                 // it stays, without a name
	dangles bool                 // what it was made from may go too
}

// user is a container that uses an image.
type user struct {
	id      string
	running bool
	image   string // as the engine was told
}

// decide is Docker's rule of what a removal of ref takes away. users are the
// containers of the image that it means.
func decide(all []engine.ImageRecord, ref string, force bool, users func(digest.Digest) []user) (*removal, error) {
	img, same, err := references(all, ref)
	if err != nil {
		return nil, err
	}
	id := same[0].Target.Digest
	soft := !force
	if img == nil {
		var named reference.Named
		if !isIDPrefix(id.String(), ref) {
			if n, err := reference.ParseNormalizedNamed(ref); err == nil {
				named = n
			}
		}
		mine := sameReferences(named, same)
		if len(mine) == 0 && named != nil {
			return nil, errNoImage(named)
		}
		if named != nil && len(mine) != len(same) {
			return &removal{untag: mine}, nil
		}
		return deleteAll(same, soft, soft && len(mine) != len(same), users(id))
	}
	if isIDPrefix(id.String(), ref) {
		return deleteAll(same, soft, soft, users(id))
	}
	named, err := reference.ParseNormalizedNamed(img.Name)
	if err != nil {
		return nil, route.Invalid(err)
	}
	mine := sameReferences(named, same)
	if len(mine) != len(same) {
		return &removal{untag: mine}, nil
	}
	if by := users(id); len(by) > 0 {
		if !force {
			return nil, route.Conflictf("conflict: unable to delete %s (must be forced) - container %s is using its referenced image %s",
				reference.FamiliarString(named), short(by[0].id), short(id.String()))
		}
		return &removal{untag: []engine.ImageRecord{*img}, dangle: true}, nil
	}
	return deleteAll(same, soft, soft && len(same) <= 1, nil)
}

// deleteAll takes an image away with all of its names, unless a container uses it
// or, with references, it has several.
func deleteAll(same []engine.ImageRecord, soft, references bool, by []user) (*removal, error) {
	id := same[0].Target.Digest
	conflict := func(force, message string) error {
		return route.Conflictf("conflict: unable to delete %s (%s be forced) - %s", short(id.String()), force, message)
	}
	for _, u := range by {
		if u.running {
			return nil, conflict("cannot", "image is being used by running container "+short(u.id))
		}
	}
	for _, u := range by {
		if soft {
			return nil, conflict("must", "image is being used by stopped container "+short(u.id))
		}
	}
	if references && len(same) > 1 {
		return nil, conflict("must", "image is referenced in multiple repositories")
	}
	return &removal{untag: same, delete: id, dangles: true}, nil
}

// references finds the record that ref names, if it names one, and all records of
// the same target.
func references(all []engine.ImageRecord, ref string) (*engine.ImageRecord, []engine.ImageRecord, error) {
	parsed, err := reference.ParseAnyReference(ref)
	if err != nil {
		return nil, nil, route.Invalid(err)
	}
	named, isNamed := parsed.(reference.Named)
	var img *engine.ImageRecord
	if isNamed {
		full := reference.TagNameOnly(named).String()
		for i := range all {
			if all[i].Name == full {
				img = &all[i]
			}
		}
	}
	if img != nil {
		return img, withTarget(all, img.Target.Digest), nil
	}
	if d, ok := parsed.(reference.Digested); ok {
		if same := withTarget(all, d.Digest()); len(same) > 0 {
			return nil, same, nil
		}
		return nil, nil, errNoImage(parsed)
	}
	same := byID(all, truncatedID(ref))
	if len(same) == 0 {
		return nil, nil, errNoImage(parsed)
	}
	for _, r := range same[1:] {
		if r.Target.Digest != same[0].Target.Digest {
			return nil, nil, route.NotFound(errors.New("ambiguous reference"))
		}
	}
	return nil, same, nil
}

// sameReferences are those of records that mean the same as named: the same name and
// tag, or the same name without a tag where the name has no other tag. nil is the
// first that has a name.
func sameReferences(named reference.Named, records []engine.ImageRecord) []engine.ImageRecord {
	var out, digests []engine.ImageRecord
	tag, anyTag, others := "", false, false
	if named != nil {
		if t, ok := named.(reference.Tagged); ok {
			tag = t.Tag()
		} else if _, ok := named.(reference.Digested); ok {
			anyTag = true
		}
	}
	for _, r := range records {
		if r.Name == "" {
			out = append(out, r)
			continue
		}
		n, err := reference.ParseNormalizedNamed(r.Name)
		if err != nil {
			continue
		}
		t, tagged := n.(reference.Tagged)
		switch {
		case named == nil:
			if named = n; tagged {
				tag = t.Tag()
			}
		case named.Name() != n.Name():
			continue
		case anyTag:
		case !tagged:
			digests = append(digests, r)
			continue
		case tag == "":
			tag = t.Tag()
		case tag != t.Tag():
			others = true
			continue
		}
		out = append(out, r)
	}
	if !others {
		out = append(out, digests...)
	}
	return out
}

func (a *Area) remove(w http.ResponseWriter, r *route.Request) error {
	name := r.Var("name")
	if strings.TrimSpace(name) == "" {
		return route.Invalidf("image name cannot be blank")
	}
	force := r.Bool("force")
	var want []imagespec.Platform
	if r.Since("1.50") {
		var err error
		if want, err = platformList(r.Form["platforms"]); err != nil {
			return err
		}
		if len(want) > 0 && !force {
			return route.Invalidf("Content will be removed from all images referencing this variant. Use —-force to force delete.")
		}
	}
	var out []imagetypes.DeleteResponse
	var err error
	if len(want) > 0 {
		out, err = a.removePlatforms(r.Context(), name, want)
	} else {
		out, err = a.removeImage(r.Context(), name, force, !r.Bool("noprune"))
	}
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// removeImage decides with what is there and does it; a container that was made
// meanwhile makes it decide again.
func (a *Area) removeImage(ctx context.Context, name string, force, parents bool) ([]imagetypes.DeleteResponse, error) {
	for {
		all, err := a.o.Store.Records(ctx)
		if err != nil {
			return nil, err
		}
		uses, err := a.users(ctx)
		if err != nil {
			return nil, err
		}
		var failed error
		d, err := decide(all, name, force, func(id digest.Digest) []user {
			u, err := a.usersOf(ctx, withTarget(all, id)[0], uses)
			if err != nil {
				failed = err
			}
			return u
		})
		if err := errors.Join(failed, err); err != nil {
			if failed == nil {
				return nil, err
			}
			return nil, failed
		}
		labels := a.labels(ctx, d.untag[0])
		err = a.o.Store.Untag(ctx, d.untag, engine.UntagOptions{Used: force, Keep: d.dangle || d.delete != "" && hasChildren(all, d)})
		if errors.Is(err, engine.ErrInUse) || errors.Is(err, engine.ErrNotFound) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out := a.told(d, labels)
		if parents && d.dangles {
			out = append(out, a.removeParents(ctx, all, d, uses)...)
		}
		return out, nil
	}
}

// hasChildren tells whether an image is kept without a name because others were made
// of it.
func hasChildren(all []engine.ImageRecord, d *removal) bool {
	if len(d.untag) != 1 || d.untag[0].Name == "" {
		return false
	}
	for _, r := range all {
		if r.Parent == d.delete {
			return true
		}
	}
	return false
}

// told publishes the events of a removal and makes its answer.
func (a *Area) told(d *removal, labels map[string]string) []imagetypes.DeleteResponse {
	var out []imagetypes.DeleteResponse
	for _, r := range d.untag {
		if r.Name != "" {
			name := engine.FamiliarRef(r.Name)
			a.tell(events.ActionUnTag, r.Target.Digest.String(), name, nil)
			out = append(out, imagetypes.DeleteResponse{Untagged: name})
		}
	}
	if d.delete != "" {
		a.tell(events.ActionDelete, d.delete.String(), d.delete.String(), labels)
		out = append(out, imagetypes.DeleteResponse{Deleted: d.delete.String()})
	}
	return out
}

// removeParents takes away what the image was made of, as long as that has no name
// and nobody uses it.
func (a *Area) removeParents(ctx context.Context, all []engine.ImageRecord, d *removal, uses []*engine.Container) []imagetypes.DeleteResponse {
	var out []imagetypes.DeleteResponse
	next := d.untag[0].Parent
	for next != "" {
		same := withTarget(all, next)
		if len(same) != 1 || same[0].Name != "" {
			return out
		}
		if by, err := a.usersOf(ctx, same[0], uses); err != nil || len(by) > 0 {
			return out
		}
		if err := a.o.Store.Untag(ctx, same, engine.UntagOptions{}); err != nil {
			return out // it is used after all, or gone
		}
		out = append(out, a.told(&removal{delete: next}, nil)...)
		next = same[0].Parent
	}
	return out
}

// users are all containers of the machine.
func (a *Area) users(ctx context.Context) ([]*engine.Container, error) {
	if a.o.Users == nil {
		return nil, nil
	}
	return a.o.Users.List(ctx, nil)
}

// usersOf are the containers that use an image.
func (a *Area) usersOf(ctx context.Context, rec engine.ImageRecord, uses []*engine.Container) ([]user, error) {
	if len(uses) == 0 {
		return nil, nil
	}
	vs, err := a.o.Store.Variants(ctx, rec.Target)
	if err != nil {
		return nil, err
	}
	return usersOf(vs, uses), nil
}

func usersOf(vs []engine.Variant, uses []*engine.Container) []user {
	var out []user
	for _, c := range uses {
		for _, v := range vs {
			if v.ConfigID != "" && c.ImageID == v.ConfigID.String() {
				out = append(out, user{c.Spec.ID, c.State == engine.Running, c.Spec.Image})
				break
			}
		}
	}
	return out
}

// labels are those of an image's config, for events; what cannot be read has none.
func (a *Area) labels(ctx context.Context, rec engine.ImageRecord) map[string]string {
	vs, err := a.o.Store.Variants(ctx, rec.Target)
	if err != nil {
		return nil
	}
	c, err := config(best(vs, nil))
	if err != nil {
		return nil
	}
	return c.Config.Labels
}
