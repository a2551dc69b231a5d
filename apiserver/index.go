package apiserver

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"skiff.dev/skiff/kinds"
)

// index answers / with the paths that there are (server/routes, Index).
func (c *call) index() {
	b, err := json.MarshalIndent(map[string][]string{"paths": c.s.paths()}, "", "  ")
	if err != nil {
		c.fail(err)
		return
	}
	c.w.Header().Set("Content-Type", "application/json")
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(b) // the client may be gone; nobody else is to be told
	}
}

// paths are those of the API groups, the health checks and what else is served, in
// order.
func (s *Server) paths() []string {
	out := []string{"/api", "/apis", "/apis/", "/metrics", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/statusz", "/version"}
	if s.opt.Flags != nil {
		out = append(out, "/flagz")
	}
	group := func(rows []*kinds.Kind) {
		for _, k := range rows {
			for _, v := range k.Served {
				switch {
				case v.Old && !s.opt.OldVersions:
				case v.Group == "":
					out = append(out, "/api/"+v.Version)
				default:
					out = append(out, "/apis/"+v.Group, "/apis/"+v.Group+"/"+v.Version)
				}
			}
		}
	}
	group(s.table.All())
	for _, k := range s.custom.Preferred() {
		group(k.Custom.Rows())
	}
	for name, all := range checks {
		out = append(out, "/"+name)
		for _, check := range all {
			out = append(out, "/"+name+"/"+check)
		}
	}
	for _, p := range s.opt.Paths {
		if !strings.HasSuffix(p.Path, "/") {
			out = append(out, p.Path)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
