package recorded

import (
	"encoding/json"
	"net"
	"net/url"
	"regexp"
	"sort"
	"strings"

	"skiff.dev/skiff/test/recorded/tree"
)

// normaliser knows what belongs to the request and therefore stays.
type normaliser struct {
	step  *Step
	path  string // after substitution
	mine  map[string]bool
	limit bool
}

func newNormaliser(s *Step, path string) *normaliser {
	n := &normaliser{step: s, path: path, mine: map[string]bool{}}
	if s.HasBody {
		n.collect(s.Body)
	}
	_, query, _ := strings.Cut(path, "?")
	n.limit = strings.Contains(query, "limit=")
	return n
}

func (n *normaliser) collect(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			n.collect(x)
		}
	case []any:
		for _, x := range v {
			n.collect(x)
		}
	case nil, bool:
	default:
		n.mine[tree.Text(v)] = true
	}
}

// body normalises an answer's body.
func (n *normaliser) body(raw []byte) any {
	if strings.HasPrefix(string(raw), "k8s\x00") {
		return "<protobuf>"
	}
	v := n.parse(string(raw))
	if list, ok := v.([]any); ok && n.watching() {
		v = n.events(list)
	}
	if m, ok := v.(map[string]any); !ok || m["kind"] != "Status" {
		for _, p := range n.step.Mask {
			for _, front := range []string{"", "items/*/", "rows/*/object/", "*/object/"} {
				v = tree.Remove(v, tree.Segments(front+p))
			}
		}
	}
	v = n.keep(v)
	return n.value(v)
}

func (n *normaliser) watching() bool {
	_, query, _ := strings.Cut(n.path, "?")
	q, err := url.ParseQuery(query)
	return err == nil && (q.Get("watch") == "true" || q.Get("watch") == "1")
}

// parse reads JSON where the text is that; a watch is a list of documents.
func (n *normaliser) parse(text string) any {
	trimmed := strings.TrimLeft(text, " \t\r\n")
	if !strings.HasPrefix(trimmed, "{") && !strings.HasPrefix(trimmed, "[") {
		return text
	}
	if n.watching() {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var list []any
		for d.More() {
			var v any
			if d.Decode(&v) != nil {
				break
			}
			list = append(list, v)
		}
		return list
	}
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	if tree.Decode([]byte(text), &v) != nil {
		return text
	}
	return v
}

// events drops bookmarks and sorts runs of one type.
func (n *normaliser) events(list []any) any {
	var out []any
	for _, x := range list {
		if ev, ok := x.(map[string]any); ok && ev["type"] == "BOOKMARK" {
			if _, ok := tree.Find(ev, "object/metadata/annotations/k8s.io~1initial-events-end"); !ok {
				continue
			}
		}
		out = append(out, x)
	}
	if len(out) == 1 {
		if m, ok := out[0].(map[string]any); ok && m["kind"] == "Status" {
			return m
		}
	}
	for i := 0; i < len(out); {
		j := i + 1
		for j < len(out) && eventType(out[i]) != "" && eventType(out[j]) == eventType(out[i]) {
			j++
		}
		sortObjects(out[i:j], "object")
		i = j
	}
	if out == nil {
		return ""
	}
	return out
}

func eventType(v any) string {
	m, _ := v.(map[string]any)
	t, _ := m["type"].(string)
	return t
}

// sortObjects sorts by namespace, then name, of the object at member under.
func sortObjects(list []any, under string) {
	key := func(v any) string {
		if under != "" {
			v, _ = tree.Find(v, under)
		}
		ns, _ := tree.Find(v, "metadata/namespace")
		name, _ := tree.Find(v, "metadata/name")
		return tree.Text(ns) + "\x00" + tree.Text(name)
	}
	sort.SliceStable(list, func(i, j int) bool { return key(list[i]) < key(list[j]) })
}

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
		names := []any{}
		for _, k := range tree.SortedKeys(m) {
			if !strings.Contains(k, "example.com") {
				names = append(names, k)
			}
		}
		out["keys:"+p] = names
	}
	return out
}

// value normalises from the outside in.
func (n *normaliser) value(v any) any {
	switch v := v.(type) {
	case map[string]any:
		n.object(v)
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[uidRE.ReplaceAllString(k, "<uid>")] = n.value(x)
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

// object applies the rules for whole objects.
func (n *normaliser) object(m map[string]any) {
	kind, _ := m["kind"].(string)
	n.service(m, kind)
	n.generated(m)
	if c, ok := m["metadata"].(map[string]any); ok && c["continue"] != nil && c["continue"] != "" {
		c["continue"] = "<continue>"
	}
	if kind == "Table" {
		n.table(m)
	}
	if kind == "APIGroupList" || kind == "APIGroupDiscoveryList" {
		n.groups(m)
	}
	if kind == "Status" {
		n.status(m)
	}
	if kind == "SelfSubjectRulesReview" {
		for _, p := range []string{"resourceRules", "nonResourceRules"} {
			if st, ok := m["status"].(map[string]any); ok {
				if l, ok := st[p].([]any); ok {
					sort.SliceStable(l, func(i, j int) bool { return tree.Canonical(l[i]) < tree.Canonical(l[j]) })
				}
			}
		}
	}
	if _, ok := m["gitVersion"]; ok {
		for _, k := range []string{"gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"} {
			if _, ok := m[k]; ok {
				m[k] = "<version>"
			}
		}
	}
	if rv, ok := m["resourceVersion"].(string); ok && rv != "0" && digitsRE.MatchString(rv) {
		m["resourceVersion"] = "<rv>"
	}
	if _, ok := m["serverAddress"].(string); ok {
		m["serverAddress"] = "<server>"
	}
	if _, ok := m["apiVersion"]; ok && strings.HasSuffix(kind, "List") && !n.limit {
		if l, ok := m["items"].([]any); ok {
			sortObjects(l, "")
		}
	}
	if kind == "Table" && !n.limit {
		if l, ok := m["rows"].([]any); ok {
			sortObjects(l, "object")
		}
	}
}

func (n *normaliser) service(m map[string]any, kind string) {
	spec, ok := m["spec"].(map[string]any)
	if _, has := m["kind"]; !ok || has && kind != "Service" {
		return
	}
	if ip, ok := spec["clusterIP"].(string); ok && net.ParseIP(ip) != nil && !n.mine[ip] {
		spec["clusterIP"] = "<ip>"
	}
	if l, ok := spec["clusterIPs"].([]any); ok {
		for i, x := range l {
			if ip, ok := x.(string); ok && net.ParseIP(ip) != nil && !n.mine[ip] {
				l[i] = "<ip>"
			}
		}
	}
	port := func(o map[string]any, k string) {
		if p, ok := o[k].(json.Number); ok && !n.mine[p.String()] {
			o[k] = "<nodePort>"
		}
	}
	port(spec, "healthCheckNodePort")
	if l, ok := spec["ports"].([]any); ok {
		for _, x := range l {
			if o, ok := x.(map[string]any); ok {
				port(o, "nodePort")
			}
		}
	}
}

// generated replaces the random part of a generated name.
func (n *normaliser) generated(m map[string]any) {
	meta, ok := m["metadata"].(map[string]any)
	if !ok {
		return
	}
	name, _ := meta["name"].(string)
	base, _ := meta["generateName"].(string)
	if base == "" {
		return
	}
	if len(base) > 58 {
		base = base[:58]
	}
	rest, ok := strings.CutPrefix(name, base)
	if !ok || !suffixRE.MatchString(rest) {
		return
	}
	meta["name"] = base + "<suffix>"
	if l, ok := meta["labels"].(map[string]any); ok {
		for k, v := range l {
			if v == name {
				l[k] = base + "<suffix>"
			}
		}
	}
}

func (n *normaliser) table(m map[string]any) {
	ip := -1
	if cols, ok := m["columnDefinitions"].([]any); ok {
		for i, x := range cols {
			if c, ok := x.(map[string]any); ok && c["name"] == "Cluster-IP" {
				ip = i
			}
		}
	}
	rows, _ := m["rows"].([]any)
	for _, x := range rows {
		r, _ := x.(map[string]any)
		cells, _ := r["cells"].([]any)
		for i, cell := range cells {
			s, ok := cell.(string)
			if !ok {
				continue
			}
			switch {
			case ageRE.MatchString(s):
				s = "<age>"
			case i == ip && net.ParseIP(s) != nil:
				s = "<ip>"
			}
			cells[i] = nodePortRE.ReplaceAllString(s, ":<nodePort>/")
		}
	}
}

func (n *normaliser) groups(m map[string]any) {
	for _, list := range []string{"groups", "items"} {
		l, ok := m[list].([]any)
		if !ok {
			continue
		}
		kept := []any{}
		for _, x := range l {
			name, _ := tree.Find(x, "name")
			if name == nil {
				name, _ = tree.Find(x, "metadata/name")
			}
			if !strings.HasSuffix(tree.Text(name), "example.com") {
				kept = append(kept, x)
			}
		}
		m[list] = kept
	}
}

func (n *normaliser) status(m map[string]any) {
	var causes []any
	if d, ok := m["details"].(map[string]any); ok {
		causes, _ = d["causes"].([]any)
	}
	if s, ok := m["message"].(string); ok {
		s = cutDiff(s)
		s = objectRE.ReplaceAllString(s, `Invalid value: "<object>"`)
		if len(causes) >= 2 {
			if i := strings.Index(s, " is invalid: ["); i >= 0 {
				s = s[:i] + " is invalid: [<causes>]"
			}
		}
		m["message"] = s
	}
	for _, x := range causes {
		if c, ok := x.(map[string]any); ok {
			if s, ok := c["message"].(string); ok {
				c["message"] = objectRE.ReplaceAllString(cutDiff(s), `Invalid value: "<object>"`)
			}
		}
	}
	sort.SliceStable(causes, func(i, j int) bool { return tree.Canonical(causes[i]) < tree.Canonical(causes[j]) })
}

func cutDiff(s string) string {
	if i := strings.Index(s, "\n@@ "); i >= 0 {
		return s[:i] + " <diff>"
	}
	return s
}

var (
	digitsRE   = regexp.MustCompile(`^[0-9]+$`)
	suffixRE   = regexp.MustCompile(`^[bcdfghjklmnpqrstvwxz2456789]{5}$`)
	ageRE      = regexp.MustCompile(`^([0-9]+[smhdy])+( ago)?$`)
	nodePortRE = regexp.MustCompile(`:3[0-2][0-9]{3}/`)
	objectRE   = regexp.MustCompile(`Invalid value: "\{(?:[^"\\]|\\.)*"`)
	uidRE      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	pemRE      = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----\n?`)
)

var textRules = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), "<token>"},
	{uidRE, "<uid>"},
	{regexp.MustCompile(`20(?:2[6-9]|[3-9][0-9])-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]+(?:Z|[+-][0-9]{2}:[0-9]{2})`), "<microtime>"},
	{regexp.MustCompile(`20(?:2[6-9]|[3-9][0-9])-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})`), "<time>"},
	{regexp.MustCompile(`kube-api-access-[bcdfghjklmnpqrstvwxz2456789]{5}`), "kube-api-access-<suffix>"},
	{pemRE, "<pem>"},
	{regexp.MustCompile(`too old resource version: [0-9]+ \([0-9]+\)`), "too old resource version: <rv> (<rv>)"},
	{regexp.MustCompile(`(Too large resource version: [0-9]+, current: )[0-9]+`), "${1}<rv>"},
	{regexp.MustCompile(`"resourceVersion":"[0-9]+"`), `"resourceVersion":"<rv>"`},
	{regexp.MustCompile(`resourceVersion: "[0-9]+"`), `resourceVersion: "<rv>"`},
	{regexp.MustCompile(`the ResourceVersion in the precondition \([0-9]+\) does not match the ResourceVersion in record \([0-9]+\)`), "the ResourceVersion in the precondition (<rv>) does not match the ResourceVersion in record (<rv>)"},
	{regexp.MustCompile(`\?hash=[0-9a-fA-F]+`), "?hash=<hash>"},
	{regexp.MustCompile(`X509SHA256=[0-9a-f]{64}`), "X509SHA256=<hash>"},
}

// text normalises a string that is not the request's own.
func (n *normaliser) text(s string) string {
	if n.mine[s] {
		return s
	}
	if strings.HasPrefix(s, "LS0tLS1CRUdJTi") {
		return "<pem>"
	}
	for _, r := range textRules {
		s = r.re.ReplaceAllString(s, r.to)
	}
	return s
}
