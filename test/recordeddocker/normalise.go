package recordeddocker

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"

	"skiff.dev/skiff/test/recorded/tree"
)

// normaliser makes one answer comparable.
type normaliser struct {
	*play
	step *Step
}

// body is the normalised body of an answer.
func (n *normaliser) body(a answer) any {
	v := toValue(a.raw, a.header.Get("Content-Type"))
	for _, p := range n.step.Mask {
		v = tree.Remove(v, tree.Segments(p))
	}
	if list, ok := v.([]any); ok && (n.step.Sort || named(list)) {
		sortItems(list)
	}
	return n.value(n.keep(v))
}

// keep cuts the answer down to what a step keeps.
func (n *normaliser) keep(v any) any {
	if len(n.step.Keep) == 0 && len(n.step.Keys) == 0 {
		return v
	}
	out := map[string]any{}
	for _, p := range n.step.Keep {
		if x, ok := tree.Find(v, p); ok {
			out[p] = x
		}
	}
	for _, p := range n.step.Keys {
		x, _ := tree.Find(v, p)
		m, ok := x.(map[string]any)
		if !ok {
			continue
		}
		names := make([]any, 0, len(m))
		for _, k := range tree.SortedKeys(m) {
			names = append(names, n.text(k))
		}
		slices.SortFunc(names, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		out["keys:"+p] = names
	}
	return out
}

// named tells whether all items have a name to be sorted by.
func named(list []any) bool {
	for _, x := range list {
		m, ok := x.(map[string]any)
		if !ok {
			return false
		}
		if m["Names"] == nil && m["Name"] == nil && m["RepoTags"] == nil {
			return false
		}
	}
	return true
}

func sortItems(list []any) {
	key := func(v any) string {
		for _, p := range []string{"Names/0", "Name", "RepoTags/0", "RepoDigests/0"} {
			if x, ok := tree.Find(v, p); ok {
				return tree.Text(x)
			}
		}
		return tree.Canonical(v)
	}
	sort.SliceStable(list, func(i, j int) bool { return key(list[i]) < key(list[j]) })
}

// value normalises from the outside in.
func (n *normaliser) value(v any) any {
	switch v := v.(type) {
	case map[string]any:
		n.prefixes(v)
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[n.text(k)] = n.member(v, k, x)
		}
		return out
	case []any:
		for i := range v {
			v[i] = n.value(v[i])
		}
		return v
	case string:
		return n.text(v)
	}
	return v
}

// prefixes hides the length of a prefix that the engine chose.
func (n *normaliser) prefixes(m map[string]any) {
	if ip, ok := m["IPAddress"].(string); ok && m["IPPrefixLen"] != nil && !n.asked(ip) {
		m["IPPrefixLen"] = "<len>"
	}
}

// asked tells whether a text is in what the file sends.
func (n *normaliser) asked(s string) bool { return strings.Contains(n.file.asked, s) }

// member normalises a member of m.
func (n *normaliser) member(m map[string]any, name string, v any) any {
	switch x := v.(type) {
	case map[string]any:
		if name == "GraphDriver" || name == "Storage" {
			return "<storage>"
		}
	case []any:
		return n.list(name, x)
	case json.Number:
		return n.number(name, x)
	case string:
		if x == "" {
			break
		}
		if to, ok := n.named(m, name, x); ok {
			return to
		}
	}
	return n.value(v)
}

func (n *normaliser) list(name string, list []any) any {
	switch name {
	case "MaskedPaths", "ReadonlyPaths":
		list = slices.DeleteFunc(list, func(v any) bool {
			s, ok := v.(string)
			return ok && cpuPath.MatchString(s)
		})
	case "Mounts":
		key := func(v any) string {
			x, _ := tree.Find(v, "Destination")
			return tree.Text(x)
		}
		sort.SliceStable(list, func(i, j int) bool { return key(list[i]) < key(list[j]) })
	case "Volumes", "Networks", "ContainersDeleted", "VolumesDeleted", "NetworksDeleted":
		sortItems(list)
	}
	out := n.value(list)
	if name == "Ports" {
		sort.SliceStable(list, func(i, j int) bool { return tree.Canonical(list[i]) < tree.Canonical(list[j]) })
	}
	return out
}

var (
	cpuPath = regexp.MustCompile(`/cpu[0-9]+/`)
	counted = []string{
		"Size", "SizeRw", "SizeRootFs", "VirtualSize", "SharedSize", "SpaceReclaimed", "LayersSize",
		"TotalSize", "Reclaimable", "size", "Content", "Unpacked", "Total", "Pid", "ProcessID",
	}
	times   = []string{"Created", "CreatedAt", "Started", "time", "timeNano"}
	located = []string{"LogPath", "ResolvConfPath", "HostnamePath", "HostsPath", "SandboxKey", "Mountpoint"}
)

// newYear is the begin of 2026; times before it come from the files.
const newYear = 1767225600

func (n *normaliser) number(name string, x json.Number) any {
	f, err := x.Float64()
	if err != nil {
		return x
	}
	switch {
	case slices.Contains(counted, name) && f > 0, slices.Contains(times, name) && f > newYear:
		return "<" + strings.ToLower(name) + ">"
	case name == "PublicPort" && f >= 32768 && !n.asked(x.String()):
		return "<port>"
	}
	return x
}

// named normalises a text, not empty, that its name tells to be the engine's own.
func (n *normaliser) named(m map[string]any, name, s string) (string, bool) {
	switch name {
	case "Driver":
		if _, ok := m["HostConfig"]; ok {
			return "<driver>", true
		}
	case "GraphDriver", "Storage":
	case "CgroupnsMode":
		return "<host fact>", !n.asked(name)
	case "AppArmorProfile", "ServerVersion", "KernelVersion":
		return "<host fact>", true
	case "HostPort":
		return "<port>", len(s) == 5 && s >= "32000" && s <= "65999" && !n.asked(s)
	case "execDuration":
		return "<age>", true
	case "Status":
		return ageRE.ReplaceAllString(s, "<age>"), true
	}
	return "<path>", slices.Contains(located, name)
}

// headers are those that are compared.
func (n *normaliser) headers(h http.Header) map[string]any {
	out := map[string]any{}
	for _, name := range []string{
		"Content-Type", "Api-Version", "Ostype", "Location", "Docker-Experimental", "Swarm", "Builder-Version", "Allow", "Upgrade",
	} {
		if vs := h.Values(name); len(vs) > 0 {
			out[name] = n.text(strings.Join(vs, ", "))
		}
	}
	if c := h.Get("Connection"); strings.EqualFold(c, "upgrade") {
		out["Connection"] = c
	}
	const stat = "X-Docker-Container-Path-Stat"
	if s := h.Get(stat); s != "" {
		out[stat] = n.pathStat(s)
	}
	return out
}

// pathStat is the JSON that the header encodes, without what no two runs have alike.
func (n *normaliser) pathStat(s string) any {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return s
	}
	m := map[string]any{}
	if err := tree.Decode(raw, &m); err != nil {
		return s
	}
	delete(m, "mtime")
	if mode, ok := m["mode"].(json.Number); ok {
		if bits, err := mode.Int64(); err == nil && bits&(1<<31) != 0 {
			delete(m, "size")
		}
	}
	for k, v := range m {
		if text, ok := v.(string); ok {
			m[k] = n.text(text)
		}
	}
	return m
}
