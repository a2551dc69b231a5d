package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Order sorts names so that each comes after those it needs; names without an
// order between them are sorted by name. Needs that are no names are ignored.
func Order(needs map[string][]string) ([]string, error) {
	const open, done = 1, 2
	mark := map[string]int{}
	var order, path []string
	var visit func(string) error
	visit = func(name string) error {
		switch mark[name] {
		case done:
			return nil
		case open:
			at := slices.Index(path, name)
			return &Error{fmt.Sprintf("dependency cycle detected: %s -> %s", strings.Join(path[at:], " -> "), name)}
		}
		mark[name] = open
		path = append(path, name)
		for _, n := range slices.Sorted(slices.Values(needs[name])) {
			if _, ok := needs[n]; !ok {
				continue
			}
			if err := visit(n); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		mark[name] = done
		order = append(order, name)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// reverse turns needs around: who has to come first when things are taken down.
func reverse(needs map[string][]string) map[string][]string {
	out := map[string][]string{}
	for name := range needs {
		out[name] = nil
	}
	for name, ns := range needs {
		for _, n := range ns {
			if _, ok := needs[n]; ok {
				out[n] = append(out[n], name)
			}
		}
	}
	for _, ns := range out {
		slices.Sort(ns)
	}
	return out
}
