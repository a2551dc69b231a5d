// Package filters reads the filters of lists, prunes and events of the Docker
// Engine API: a JSON object of lists of values, {"label":["a=b"]}, or, from clients
// of old, of objects, {"label":{"a=b":true}}.
package filters

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// maxText bounds what is decoded.
const maxText = 1 << 20

// Args are the values by filter name, each list sorted and without doubles.
type Args map[string][]string

// Parse reads a query's text; "" is none.
func Parse(text string) (Args, error) {
	if text == "" {
		return Args{}, nil
	}
	if len(text) > maxText {
		return nil, route.Invalidf("invalid filter")
	}
	out := Args{}
	var lists map[string][]string
	if err := json.Unmarshal([]byte(text), &lists); err == nil {
		for k, v := range lists {
			out[k] = v
		}
	} else {
		var sets map[string]map[string]bool
		if err := json.Unmarshal([]byte(text), &sets); err != nil {
			return nil, route.Invalidf("invalid filter")
		}
		for k, set := range sets {
			out[k] = nil
			for v := range set {
				out[k] = append(out[k], v)
			}
		}
	}
	for k, v := range out {
		slices.Sort(v)
		out[k] = slices.Compact(v)
	}
	return out, nil
}

// Of reads the filters of a request.
func Of(r *route.Request) (Args, error) { return Parse(r.Form.Get("filters")) }

// Check refuses filters that are not among known.
func (a Args) Check(known ...string) error {
	names := make([]string, 0, len(a))
	for k := range a {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		if !slices.Contains(known, k) {
			return route.Invalidf("invalid filter '%s'", k)
		}
	}
	return nil
}

// Has tells whether a filter is given, with values or without.
func (a Args) Has(key string) bool { return len(a[key]) > 0 }

// Exact is true where the filter has no values or one is value.
func (a Args) Exact(key, value string) bool {
	return len(a[key]) == 0 || slices.Contains(a[key], value)
}

// Prefix is true where the filter has no values or value begins with one.
func (a Args) Prefix(key, value string) bool {
	return len(a[key]) == 0 || slices.ContainsFunc(a[key], func(v string) bool { return strings.HasPrefix(value, v) })
}

// Match is true where the filter has no values, one is value, or one as a regular
// expression finds something in value.
func (a Args) Match(key, value string) bool {
	if a.Exact(key, value) {
		return true
	}
	return slices.ContainsFunc(a[key], func(v string) bool {
		re, err := regexp.Compile(v)
		return err == nil && re.MatchString(value)
	})
}

// Glob is true where the filter has no values or one as a shell pattern is value's.
func (a Args) Glob(key, value string) bool {
	return len(a[key]) == 0 || slices.ContainsFunc(a[key], func(v string) bool {
		ok, err := path.Match(v, value)
		return err == nil && ok
	})
}

// Labels is true where labels have all of the filter's "name" and "name=value".
func (a Args) Labels(key string, labels map[string]string) bool {
	for _, want := range a[key] {
		name, value, has := strings.Cut(want, "=")
		got, ok := labels[name]
		if !ok || (has && got != value) {
			return false
		}
	}
	return true
}

// Bool reads a filter that is true or false; fallback is for none.
func (a Args) Bool(key string, fallback bool) (bool, error) {
	v := a[key]
	if len(v) == 0 {
		return fallback, nil
	}
	yes := slices.ContainsFunc(v, func(s string) bool { return s == "1" || s == "true" })
	no := slices.ContainsFunc(v, func(s string) bool { return s == "0" || s == "false" })
	if yes == no {
		return fallback, route.Invalidf("invalid filter '%s=[%s]'", key, strings.Join(v, " "))
	}
	return yes, nil
}
