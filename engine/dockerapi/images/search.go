package images

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// Searcher asks the index of a registry ("docker.io") for repositories.
type Searcher interface {
	Search(ctx context.Context, index, term string, limit int, o engine.PullOptions) ([]engine.SearchResult, error)
}

const defaultLimit, maxLimit = 25, 100

func (a *Area) search(w http.ResponseWriter, r *route.Request) error {
	limit := 0
	if text := r.Form.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return route.Invalidf("invalid limit specified: %w", err)
		}
		limit = n
	}
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	if err := f.Check("is-automated", "is-official", "stars"); err != nil {
		return err
	}
	automated, err := f.Bool("is-automated", false)
	if err != nil {
		return err
	}
	official, err := f.Bool("is-official", false)
	if err != nil {
		return err
	}
	stars := 0
	for _, v := range f["stars"] {
		n, err := strconv.Atoi(v)
		if err != nil {
			return route.Invalidf("invalid filter 'stars=%s': %w", v, err)
		}
		stars = max(stars, n)
	}
	out := []registry.SearchResult{}
	if automated {
		return route.WriteJSON(w, http.StatusOK, out)
	}
	term := r.Form.Get("term")
	if strings.Contains(term, "://") {
		return route.Invalidf("invalid repository name: repository name (%s) should not have a scheme", term)
	}
	if limit == 0 {
		limit = defaultLimit
	}
	if limit < 1 || limit > maxLimit {
		return route.Invalidf("limit %d is outside the range of [1, 100]", limit)
	}
	index, rest := splitTerm(term)
	all, err := a.o.Search.Search(r.Context(), index, rest, limit, pullOptions(r.Header))
	if err != nil {
		return remoteError(err)
	}
	for _, res := range all {
		if f.Has("is-official") && res.Official != official || res.Stars < stars {
			continue
		}
		out = append(out, registry.SearchResult{Name: res.Name, Description: res.Description, StarCount: res.Stars, IsOfficial: res.Official})
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// splitTerm takes the registry from a term, if it names one.
func splitTerm(term string) (index, rest string) {
	first, after, ok := strings.Cut(term, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return "docker.io", strings.TrimPrefix(term, "library/")
	}
	return first, after
}
