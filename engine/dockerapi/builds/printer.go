package builds

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// printer prints the classic builder's output from BuildKit's progress. BuildKit
// works on several steps at a time: what a later step says is kept until the steps
// before it are printed.
type printer struct {
	plan   *plan
	out    func(string) error
	remove bool
	// fresh tells that the cache was not asked: no step is from it.
	fresh bool
	// baseID finds the id of a base image.
	baseID func(name string) string

	mu     sync.Mutex
	states []state
	byName map[digest.Digest]int // step of a vertex
	stages map[string]int
	at     int    // the step that is printed
	begun  bool   // its first line is
	prev   string // id after the step before
	ids    []string
	image  string // the id of the result
	err    error  // of out
}

// state is what is known of a step.
type state struct {
	started, ended, cached bool
	failed                 string
	logs                   []byte
	container              string
	digest                 string // of a base image
}

func newPrinter(p *plan, out func(string) error) *printer {
	pr := &printer{plan: p, out: out, states: make([]state, len(p.steps)), byName: map[digest.Digest]int{}, stages: map[string]int{}, ids: make([]string, len(p.layers))}
	for i, n := range p.names {
		if n == "" {
			n = "stage-" + strconv.Itoa(i)
		}
		pr.stages[strings.ToLower(n)] = i
	}
	return pr
}

// vertexName is how the Dockerfile frontend calls an instruction: its stage unless
// there is only one, its number and how many the stage has.
var vertexName = regexp.MustCompile(`^\[(?:(\S+) )? *(\d+)/(\d+)\] (ONBUILD )?(.*)$`)

var fromDigest = regexp.MustCompile(`@(sha256:[0-9a-f]{64})`)

// stepOf finds the step that a vertex is of.
func (p *printer) stepOf(v *client.Vertex) (int, bool) {
	if i, ok := p.byName[v.Digest]; ok {
		return i, true
	}
	m := vertexName.FindStringSubmatch(v.Name)
	if m == nil || m[4] != "" {
		return 0, false
	}
	stage := len(p.plan.layers) - 1
	if m[1] != "" {
		s, ok := p.stages[strings.ToLower(m[1])]
		if !ok {
			return 0, false
		}
		stage = s
	}
	k, _ := strconv.Atoi(m[2]) //nolint:errcheck // digits
	n, _ := strconv.Atoi(m[3]) //nolint:errcheck // digits
	// Counted from the end: what comes before may be ONBUILD instructions.
	layer := p.plan.layers[stage] - (n - k)
	isFrom := strings.HasPrefix(m[5], "FROM ")
	for i := range p.plan.steps {
		s := &p.plan.steps[i]
		if s.stage != stage {
			continue
		}
		if isFrom && s.kind == from || !isFrom && s.layer > 0 && s.layer == layer {
			p.byName[v.Digest] = i
			return i, true
		}
	}
	return 0, false
}

// take reads BuildKit's progress.
func (p *printer) take(s *client.SolveStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range s.Vertexes {
		i, ok := p.stepOf(v)
		if !ok {
			continue
		}
		st := &p.states[i]
		st.started = st.started || v.Started != nil
		st.ended = st.ended || v.Completed != nil
		st.cached = st.cached || v.Cached
		if v.Error != "" && !strings.Contains(v.Error, "context canceled") {
			st.failed = v.Error
		}
		if m := fromDigest.FindStringSubmatch(v.Name); m != nil {
			st.digest = m[1]
		}
	}
	for _, l := range s.Logs {
		i, ok := p.byName[l.Vertex]
		if !ok {
			continue
		}
		text := string(l.Data)
		if l.Stream == 2 {
			text = "\x1b[91m" + text + "\x1b[0m"
		}
		p.states[i].logs = append(p.states[i].logs, text...)
	}
	p.advance(len(p.plan.steps), false)
}

// advance prints the steps before end as far as they have come; with all, also
// those of which nothing was heard.
func (p *printer) advance(end int, all bool) {
	for p.at < end {
		s, st := &p.plan.steps[p.at], &p.states[p.at]
		work := s.layer > 0
		if !all && p.wait(p.at) {
			return
		}
		p.begin(s, st)
		if len(st.logs) > 0 {
			p.print(string(st.logs))
			st.logs = nil
		}
		// The last step's id is that of the image, which is not known yet.
		if !all && (work && !st.ended || p.at == len(p.plan.steps)-1) {
			return
		}
		p.end(s, st)
	}
}

// wait tells that nothing can be said of a step yet.
func (p *printer) wait(i int) bool {
	s, st := &p.plan.steps[i], &p.states[i]
	switch {
	case s.layer > 0:
		return !st.started && !st.ended
	case s.kind == from:
		return s.image && !p.known(i)
	case s.kind == config && !p.fresh:
		// Whether it is from the cache shows a step that changes files.
		n, ok := p.sign(i)
		return ok && !p.states[n].started && !p.states[n].ended
	}
	return false
}

// known tells whether the image of FROM has been found.
func (p *printer) known(i int) bool {
	s := &p.plan.steps[i]
	return s.base == "scratch" || p.states[i].started || p.states[i].digest != "" || p.baseID(s.base) != ""
}

func (p *printer) print(text string) {
	if p.err == nil && text != "" {
		p.err = p.out(text)
	}
}

// begin prints a step's first lines, once.
func (p *printer) begin(s *step, st *state) {
	if p.begun {
		return
	}
	p.begun = true
	p.print(fmt.Sprintf("Step %d/%d : %s\n", p.at+1, len(p.plan.steps), s.text))
	if (s.kind == run || s.kind == config) && !p.fromCache(s, st) {
		st.container = newID()
		p.print(" ---> Running in " + st.container + "\n")
	}
}

// end prints a step's last lines and goes on to the next.
func (p *printer) end(s *step, st *state) {
	p.removed(st)
	switch {
	case st.failed != "":
		// The error follows.
	case s.kind == arg:
	case s.kind == from:
		p.prev = p.idAfterFrom(s, st)
		p.print(" ---> " + p.prev + "\n")
	default:
		if p.fromCache(s, st) {
			p.print(" ---> Using cache\n")
		}
		sum := sha256.Sum256([]byte(p.prev + "\n" + s.text))
		p.prev = hex.EncodeToString(sum[:])[:12]
		if p.at == len(p.plan.steps)-1 && p.image != "" {
			p.prev = short(p.image)
		}
		p.print(" ---> " + p.prev + "\n")
	}
	if s.stage >= 0 {
		p.ids[s.stage] = p.prev
	}
	p.at++
	p.begun = false
}

func (p *printer) removed(st *state) {
	if st.container != "" && p.remove {
		p.print(" ---> Removed intermediate container " + st.container + "\n")
	}
	st.container = ""
}

// fromCache tells whether a step was done before. What only changes the
// configuration costs nothing, and counts as the files before it do.
func (p *printer) fromCache(s *step, st *state) bool {
	if p.fresh {
		return false
	}
	if s.layer > 0 {
		return st.cached
	}
	i, ok := p.sign(p.at)
	return ok && p.states[i].cached
}

// sign is the step that changes files, of the same stage, before step i, or the next
// one.
func (p *printer) sign(i int) (int, bool) {
	is := func(k int) bool { return p.plan.steps[k].stage == p.plan.steps[i].stage && p.plan.steps[k].layer > 0 }
	for k := i - 1; k >= 0; k-- {
		if is(k) {
			return k, true
		}
	}
	for k := i + 1; k < len(p.plan.steps); k++ {
		if is(k) {
			return k, true
		}
	}
	return 0, false
}

// idAfterFrom is "" for scratch.
func (p *printer) idAfterFrom(s *step, st *state) string {
	switch {
	case s.base == "scratch":
		return ""
	case !s.image:
		if i, ok := p.stages[strings.ToLower(s.base)]; ok {
			return p.ids[i]
		}
		return ""
	}
	id := p.baseID(s.base)
	if id == "" {
		id = st.digest
	}
	return short(id)
}

// finish prints what is left of a build that has gone well.
func (p *printer) finish(image string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.image = image
	p.advance(len(p.plan.steps), true)
	return p.err
}

// stopAt prints the steps before i and the begin of i, which went wrong.
func (p *printer) stopAt(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(i, true)
	if p.at != i {
		return p.err
	}
	s, st := &p.plan.steps[i], &p.states[i]
	if s.silent {
		return p.err
	}
	if s.refused != nil {
		// Nothing ran.
		p.begun = true
		p.print(fmt.Sprintf("Step %d/%d : %s\n", i+1, len(p.plan.steps), s.text))
		return p.err
	}
	p.begin(s, st)
	p.print(string(st.logs))
	p.removed(st)
	return p.err
}

// failedStep is the step whose vertex failed.
func (p *printer) failedStep() (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.states {
		if p.states[i].failed != "" {
			return i, true
		}
	}
	return 0, false
}

func newID() string {
	var b [6]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// short is an id as the classic builder prints it.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}
