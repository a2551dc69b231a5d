package images

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/distribution/reference"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// candidate is a record with what filters look at.
type candidate struct {
	engine.ImageRecord
	variants []engine.Variant
}

// test tells whether a record is wanted.
type test func(*candidate) (bool, error)

// tests compiles filters; all must hold.
func (a *Area) tests(ctx context.Context, f filters.Args, all []engine.ImageRecord, now time.Time) (test, error) {
	var ts []test
	for _, key := range []string{"before", "since"} {
		for _, ref := range f[key] {
			t, err := a.relative(ctx, all, ref, key == "before")
			if err != nil {
				return nil, err
			}
			ts = append(ts, t)
		}
	}
	for _, v := range f["until"] {
		until, err := filters.Moment(v, now)
		if err != nil {
			return nil, route.Invalidf("invalid value for 'until' filter: %w", err)
		}
		ts = append(ts, func(c *candidate) (bool, error) { return c.CreatedAt.Before(until), nil })
	}
	for _, key := range []string{"label", "label!"} {
		for _, v := range f[key] {
			ts = append(ts, label(v, key == "label!"))
		}
	}
	if f.Has("dangling") {
		want, err := f.Bool("dangling", false)
		if err != nil {
			return nil, err
		}
		ts = append(ts, func(c *candidate) (bool, error) { return (c.Name == "") == want, nil })
	}
	if f.Has("reference") {
		ts = append(ts, func(c *candidate) (bool, error) { return matches(f["reference"], c.Name), nil })
	}
	return func(c *candidate) (bool, error) {
		for _, t := range ts {
			if ok, err := t(c); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	}, nil
}

// relative compares when images were created.
func (a *Area) relative(ctx context.Context, all []engine.ImageRecord, ref string, before bool) (test, error) {
	rec, err := resolve(all, ref)
	if err != nil {
		return nil, err
	}
	vs, err := a.o.Store.Variants(ctx, rec.Target)
	if err != nil {
		return nil, err
	}
	at, err := created(vs)
	if err != nil {
		return nil, err
	}
	return func(c *candidate) (bool, error) {
		other, err := created(c.variants)
		if err != nil || at == nil {
			return at == nil, err
		}
		if other == nil {
			return false, nil
		}
		return before && other.Before(*at) || !before && other.After(*at), nil
	}, nil
}

func created(vs []engine.Variant) (*time.Time, error) {
	c, err := config(best(vs, nil))
	return c.Created, err
}

// label looks for a label in the config of any variant.
func label(want string, not bool) test {
	key, value, has := strings.Cut(want, "=")
	if k, ok := strings.CutSuffix(key, "!"); ok {
		key, not = k, !not
	}
	return func(c *candidate) (bool, error) {
		for i := range c.variants {
			if !c.variants[i].Image || c.variants[i].Config == nil {
				continue
			}
			cfg, err := config(&c.variants[i])
			if err != nil {
				return false, err
			}
			got, ok := cfg.Config.Labels[key]
			if (ok && (!has || got == value)) != not {
				return true, nil
			}
		}
		return false, nil
	}
}

// matches tells whether a pattern is that of a name, in its short or its long form,
// with its tag or without.
func matches(patterns []string, name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	forms := []string{reference.FamiliarString(ref), reference.FamiliarName(ref), reference.TagNameOnly(ref).String(), ref.Name()}
	for _, p := range patterns {
		for _, f := range forms {
			if ok, err := path.Match(p, f); err == nil && ok {
				return true
			}
		}
	}
	return false
}
