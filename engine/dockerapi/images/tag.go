package images

import (
	"net/http"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// repoTag makes a reference of the parameters repo and tag; without repo it is nil.
func repoTag(repo, tag string) (reference.NamedTagged, error) {
	if repo == "" {
		return nil, nil
	}
	ref, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, route.Invalid(err)
	}
	if _, digested := ref.(reference.Digested); digested {
		return nil, route.Invalidf("cannot import digest reference")
	}
	if tag != "" {
		t, err := reference.WithTag(ref, tag)
		return t, route.Invalid(err)
	}
	return reference.TagNameOnly(ref).(reference.NamedTagged), nil
}

func (a *Area) tag(w http.ResponseWriter, r *route.Request) error {
	ref, err := repoTag(r.Form.Get("repo"), r.Form.Get("tag"))
	if err != nil {
		return err
	}
	if ref == nil {
		return nil // Docker answers 200 and does nothing
	}
	if reference.FamiliarName(ref) == "sha256" {
		return route.Invalidf("refusing to create an ambiguous tag using digest algorithm as name")
	}
	rec, _, err := a.find(r.Context(), r.Var("name"))
	if err != nil {
		return err
	}
	if err := a.o.Store.Tag(r.Context(), rec.Target, ref.String()); err != nil {
		return err
	}
	a.tell(events.ActionTag, rec.Target.Digest.String(), reference.FamiliarString(ref), a.labels(r.Context(), *rec))
	w.WriteHeader(http.StatusCreated)
	return nil
}
