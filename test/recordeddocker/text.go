package recordeddocker

import (
	"regexp"
	"slices"
	"strings"
)

var (
	ageRE = regexp.MustCompile(`Less than a second|About a minute|About an hour|\b[0-9]+ (?:second|minute|hour|day|week|month|year)s?\b`)
	idRE  = regexp.MustCompile(`^(?:sha256:)?([0-9a-f]{64})$`)

	longRE   = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	uuidRE   = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	shortRE  = regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	timeRE   = regexp.MustCompile(`20(?:2[6-9]|[3-9][0-9])-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?`)
	spacedRE = regexp.MustCompile(`20(?:2[6-9]|[3-9][0-9])-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)? \+0000 UTC`)
	subnetRE = regexp.MustCompile(`\b(?:10|172|192)(?:\.[0-9]{1,3}){3}/[0-9]{1,2}\b`)
	ipRE     = regexp.MustCompile(`\b(?:10(?:\.[0-9]{1,3}){3}|172\.(?:1[6-9]|2[0-9]|3[01])(?:\.[0-9]{1,3}){2}|192\.168(?:\.[0-9]{1,3}){2})\b`)
	macRE    = regexp.MustCompile(`\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b`)

	// runtimeRE is the run-up of a runtime's message.
	runtimeRE = regexp.MustCompile(`(?:failed to create task for container: )?(?:failed to create shim task: )?` +
		`OCI runtime (?:create|exec) failed: (?:runc create failed: |exec failed: )?` +
		`(?:unable to start container process: )?(?:error during container init: )?`)

	lastRules = []struct {
		re *regexp.Regexp
		to string
	}{
		{regexp.MustCompile(`has active endpoints \([^)]*\)`), "has active endpoints (<endpoints>)"},
		{regexp.MustCompile(`ref [a-z0-9]{25}::[a-z0-9]{25}`), "ref <ref>"},
		{regexp.MustCompile(`(range of CPUs is from 0\.01 to ).*`), "${1}<host fact>"},
		{regexp.MustCompile(`(Requested CPUs are not available - requested [^,]*(?:,[0-9-]+)*, available: ).*`), "${1}<host fact>"},
		{regexp.MustCompile(`(digest: \S+ size: )[0-9]+`), "${1}<size>"},
		{runtimeRE, "<runtime> "},
	}
)

// text normalises a string.
func (n *normaliser) text(s string) string {
	if n.registry != "" {
		s = strings.ReplaceAll(s, n.registry, "<registry>")
	}
	if n.root != nil {
		s = n.root.ReplaceAllLiteralString(s, "<path>")
	}
	for _, v := range n.ids() {
		s = strings.ReplaceAll(s, v.id, "<"+v.name+">")
		s = replace(shortRE, s, func(at string) bool { return at == v.id[:12] }, "<"+v.name+":12>")
	}
	s = longRE.ReplaceAllString(s, "<id>")
	s = uuidRE.ReplaceAllString(s, "<uuid>")
	free := func(at string) bool { return !n.asked(at) }
	s = replace(shortRE, s, free, "<id:12>")
	s = timeRE.ReplaceAllString(s, "<time>")
	s = spacedRE.ReplaceAllString(s, "<time>")
	s = replace(subnetRE, s, free, "<subnet>")
	s = replace(ipRE, s, free, "<ip>")
	s = replace(macRE, s, free, "<mac>")
	for _, r := range lastRules {
		s = r.re.ReplaceAllString(s, r.to)
	}
	return s
}

// replace puts to in the place of the matches for which ok holds.
func replace(re *regexp.Regexp, s string, ok func(string) bool, to string) string {
	return re.ReplaceAllStringFunc(s, func(at string) string {
		if ok(at) {
			return to
		}
		return at
	})
}

type namedID struct{ name, id string }

// ids are the variables that hold an id of 64 hex digits, in order of their names.
func (p *play) ids() []namedID {
	var out []namedID
	for name, v := range p.vars {
		s, _ := v.(string)
		if m := idRE.FindStringSubmatch(s); m != nil {
			out = append(out, namedID{name, m[1]})
		}
	}
	slices.SortFunc(out, func(a, b namedID) int { return strings.Compare(a.name, b.name) })
	return out
}
