// Package openapi serves the OpenAPI documents of the API, in version 3 (one
// document a group version, found by an index) and in version 2 (one for all), by
// which kubectl explains, validates and merges. The schemas of the built-in kinds
// come from the Go types through kube-openapi's generator (see gen) and lie
// compressed in the program; the paths come from the kinds table. A document is
// made when first asked for and kept compressed.
package openapi

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"weak"

	"k8s.io/kube-openapi/pkg/util"
)

//go:generate go run ./gen

//go:embed schemas.gz
var compressed []byte

// schemas holds the schema texts by name: slices of one decompressed text.
type schemas struct {
	v3, v2 map[string]string
}

var (
	loadMu sync.Mutex
	loaded weak.Pointer[schemas]
)

// load decompresses the schemas. They are shared while somebody holds them, and
// gone with the garbage after that: an idle server keeps nothing.
func load() (*schemas, error) {
	loadMu.Lock()
	defer loadMu.Unlock()
	if s := loaded.Value(); s != nil {
		return s, nil
	}
	s, err := decode(compressed)
	if err != nil {
		return nil, fmt.Errorf("openapi: embedded schemas: %w", err)
	}
	loaded = weak.Make(s)
	return s, nil
}

// decode reads what gen wrote: for each schema three lines, its name, its form in
// version 3, and its form in version 2 where that differs.
func decode(file []byte) (*schemas, error) {
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	if n := len(file); n >= 4 { // the trailer tells the size, unless it lies
		size := int(uint32(file[n-4]) | uint32(file[n-3])<<8 | uint32(file[n-2])<<16 | uint32(file[n-1])<<24)
		if size < 64<<20 {
			b.Grow(size)
		}
	}
	if _, err := io.Copy(&b, z); err != nil {
		return nil, err
	}
	s := &schemas{v3: map[string]string{}, v2: map[string]string{}}
	for text := b.String(); text != ""; {
		var line [3]string
		for i := range line {
			var ok bool
			if line[i], text, ok = strings.Cut(text, "\n"); !ok {
				return nil, fmt.Errorf("cut off after %q", line[0])
			}
		}
		if line[2] == "" {
			line[2] = line[1]
		}
		s.v3[line[0]], s.v2[line[0]] = line[1], line[2]
	}
	return s, nil
}

const (
	refV3 = "#/components/schemas/"
	refV2 = "#/definitions/"
)

// references calls f with the name of every schema that text refers to.
func references(text, prefix string, f func(name string)) {
	mark := `"$ref":"` + prefix
	for {
		_, rest, ok := strings.Cut(text, mark)
		if !ok {
			return
		}
		name, rest, _ := strings.Cut(rest, `"`)
		f(name)
		text = rest
	}
}

// closure adds to out the texts of the schemas named and of all that they refer
// to. Unknown names are left out.
func closure(all map[string]string, prefix string, names []string, out map[string]string) {
	for len(names) > 0 {
		name := names[len(names)-1]
		names = names[:len(names)-1]
		text, ok := all[name]
		if _, done := out[name]; done || !ok {
			continue
		}
		out[name] = text
		references(text, prefix, func(n string) { names = append(names, n) })
	}
}

// nameOf is the schema name of an object's Go type: io.k8s.api.core.v1.Pod.
func nameOf(o any) string {
	if o == nil || reflect.TypeOf(o) == nil {
		return ""
	}
	name := util.GetCanonicalTypeName(o)
	if strings.Contains(name, "/") {
		name = util.ToRESTFriendlyName(name)
	}
	return name
}
