package builds

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/sys/signal"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// kind is what the classic builder does with an instruction.
type kind int

const (
	from   kind = iota
	config      // changes the configuration: a container is made and not run
	run         // runs a container
	copies      // copies files
	arg         // an ARG before the first FROM
)

// step is one instruction as the classic builder counts them.
type step struct {
	text  string
	kind  kind
	stage int
	// layer counts the stage's instructions that change files, from 1; 0 for others.
	layer       int
	first, last int    // lines
	base        string // of from: with variables replaced
	image       bool   // of from: base is no earlier stage
	command     string // of run: as an error names it
	// refused is why the classic builder would not do it.
	refused error
	// silent tells that it is refused before it is printed.
	silent bool
	// files are patterns of which one must find something in the context.
	files []string
}

// plan is a Dockerfile cut into steps.
type plan struct {
	steps    []step
	layers   []int    // by stage: how many instructions change files
	names    []string // by stage
	unused   []string // build arguments that no ARG takes
	target   int
	noImage  bool // nothing but FROM scratch
	baseOnly string
}

// predefined arguments need no ARG.
var predefined = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}

// newPlan reads a Dockerfile; its errors are the answer.
func newPlan(text []byte, p *params) (*plan, error) {
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, route.Invalidf("failed to parse Dockerfile: %w", unlocated(err))
	}
	stages, metas, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil, route.Invalid(err)
	}
	pl := &plan{target: len(stages) - 1}
	if t := p.request.Target; t != "" {
		i, ok := instructions.HasStage(stages, t)
		if n, err := strconv.Atoi(t); !ok && err == nil && n >= 0 && n < len(stages) {
			i, ok = n, true
		}
		if !ok {
			return nil, route.Invalidf("target stage %q could not be found", t)
		}
		pl.target = i
	}
	stages = stages[:pl.target+1]
	for _, k := range slices.Sorted(maps.Keys(p.labels)) {
		stages[pl.target].AddCommand(instructions.NewLabelCommand(k, p.labels[k], true))
	}
	lex := shell.NewLex(tree.EscapeToken)
	env := map[string]string{}
	declared := map[string]bool{}
	var shells [][]string // by stage: of RUN at its end
	for _, m := range metas {
		s := step{text: m.String(), kind: arg, stage: -1}
		s.first, s.last = lines(m.Location())
		for _, a := range m.Args {
			declared[a.Key] = true
			v, given := p.request.Args[a.Key]
			if !given && a.Value != nil {
				v, _, err = lex.ProcessWord(*a.Value, environ(env))
				s.refused = err
			}
			env[a.Key] = v
		}
		pl.steps = append(pl.steps, s)
	}
	for i, st := range stages {
		s := step{text: st.SourceCode, kind: from, stage: i}
		s.first, s.last = lines(st.Location)
		s.base, s.image, s.refused = baseOf(st, stages[:i], lex, env)
		if _, taken := instructions.HasStage(stages[:i], st.Name); taken && st.Name != "" {
			// Found out before the instruction is printed.
			s.refused, s.silent = fmt.Errorf("%s stage name already used", st.Name), true
		}
		shell := shellOf(s.base, stages[:i], shells)
		pl.steps = append(pl.steps, s)
		pl.names = append(pl.names, st.Name)
		layers := 0
		for _, c := range st.Commands {
			s := stepOf(c, i, stages, shell)
			if c, ok := c.(*instructions.ShellCommand); ok {
				shell = c.Shell
			}
			if s.layer == 1 {
				layers++
				s.layer = layers
			}
			if a, ok := c.(*instructions.ArgCommand); ok {
				for _, kv := range a.Args {
					declared[kv.Key] = true
				}
			}
			pl.steps = append(pl.steps, s)
		}
		pl.layers = append(pl.layers, layers)
		shells = append(shells, shell)
	}
	for k := range p.args {
		if !declared[k] && !slices.Contains(predefined, k) {
			pl.unused = append(pl.unused, k)
		}
	}
	slices.Sort(pl.unused)
	last := stages[pl.target]
	if len(last.Commands) == 0 {
		f := pl.steps[len(pl.steps)-1]
		pl.noImage = f.base == "scratch"
		if f.image && !pl.noImage {
			pl.baseOnly = f.base
		}
	}
	return pl, nil
}

// unlocated is a parser's error without the line that the classic builder does not
// print.
func unlocated(err error) error {
	var at *parser.LocationError
	if errors.As(err, &at) {
		return at.Unwrap()
	}
	return err
}

func lines(r []parser.Range) (first, last int) {
	if len(r) == 0 {
		return 0, 0
	}
	return r[0].Start.Line, r[len(r)-1].End.Line
}

// environ shows variables to the shell's words.
type environ map[string]string

func (e environ) Get(k string) (string, bool) { v, ok := e[k]; return v, ok }
func (e environ) Keys() []string {
	out := make([]string, 0, len(e))
	for k := range e {
		out = append(out, k)
	}
	return out
}

// baseOf is what a stage stands on; image is false for an earlier stage.
func baseOf(st instructions.Stage, before []instructions.Stage, lex *shell.Lex, env environ) (base string, image bool, err error) {
	base, _, err = lex.ProcessWord(st.BaseName, env)
	if err != nil {
		return "", false, err
	}
	if base == "" {
		return "", false, fmt.Errorf("base name (%s) should not be blank", st.BaseName)
	}
	if _, ok := instructions.HasStage(before, base); ok {
		return base, false, nil
	}
	if base == "scratch" {
		return base, true, nil
	}
	if _, err := reference.ParseNormalizedNamed(base); err != nil {
		return "", false, err
	}
	return base, true, nil
}

const needsBuildKit = "the --%s option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"

// shellOf is the shell of a stage's first RUN: that of the earlier stage on which it
// stands, or Docker's own.
func shellOf(base string, before []instructions.Stage, shells [][]string) []string {
	if i, ok := instructions.HasStage(before, base); ok {
		return shells[i]
	}
	return []string{"/bin/sh", "-c"}
}

// stepOf reads one instruction; layer is 1 where it changes files.
func stepOf(c instructions.Command, stage int, stages []instructions.Stage, shell []string) step {
	s := step{text: fmt.Sprint(c), kind: config, stage: stage}
	s.first, s.last = lines(c.Location())
	switch c := c.(type) {
	case *instructions.RunCommand:
		s.kind, s.layer = run, 1
		s.command = strings.Join(c.CmdLine, " ")
		if c.PrependShell {
			s.command = strings.Join(shell, " ") + " " + s.command
		}
		if len(c.FlagsUsed) > 0 {
			s.refused = fmt.Errorf(needsBuildKit, c.FlagsUsed[0])
		}
	case *instructions.WorkdirCommand:
		s.layer = 1
	case *instructions.CopyCommand:
		s.kind, s.layer = copies, 1
		s.refused = checkCopy("COPY", c.SourcesAndDest, c.Chmod, c.From == "")
		if c.From == "" {
			s.files = c.SourcePaths
		}
		if c.From != "" && s.refused == nil {
			s.refused = checkFrom(c.From, stage, stages)
		}
	case *instructions.AddCommand:
		s.kind, s.layer = copies, 1
		s.refused = checkCopy("ADD", c.SourcesAndDest, c.Chmod, true)
		s.files = c.SourcePaths
	case *instructions.ExposeCommand:
		s.refused = checkPorts(c.Ports)
	case *instructions.StopSignalCommand:
		if !strings.Contains(c.Signal, "$") {
			if _, err := signal.ParseSignal(c.Signal); err != nil {
				s.refused = err
			}
		}
	}
	return s
}

func checkCopy(verb string, files instructions.SourcesAndDest, chmod string, local bool) error {
	switch {
	case chmod != "":
		return fmt.Errorf(needsBuildKit, "chmod")
	case len(files.SourceContents) > 0:
		return errors.New("here-documents require BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled")
	}
	for _, src := range files.SourcePaths {
		clean := path.Clean(src)
		if local && !strings.Contains(src, "://") && (clean == ".." || strings.HasPrefix(clean, "../")) {
			return fmt.Errorf("%s failed: forbidden path outside the build context: %s ()", verb, src)
		}
	}
	if len(files.SourcePaths) > 1 && !strings.HasSuffix(files.DestPath, "/") && !strings.HasSuffix(files.DestPath, "/.") && files.DestPath != "." {
		return fmt.Errorf("When using %s with more than one source file, the destination must be a directory and end with a /", verb) //lint:ignore ST1005 Docker's words
	}
	return nil
}

// checkPatterns refuses patterns that find nothing in the context, which BuildKit
// takes for nothing to copy.
func (p *plan) checkPatterns(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for i := range p.steps {
		s := &p.steps[i]
		verb, _, _ := strings.Cut(s.text, " ")
		for _, f := range s.files {
			if s.refused != nil || !strings.ContainsAny(f, "*?[") || strings.ContainsAny(f, "$\\") {
				continue
			}
			found, err := fs.Glob(root.FS(), strings.TrimLeft(path.Clean(f), "/"))
			if err == nil && len(found) == 0 {
				s.refused = fmt.Errorf("%s failed: no source files were specified", strings.ToUpper(verb))
			}
		}
	}
	return nil
}

// checkFrom refuses --from of the stage itself and of those after it.
func checkFrom(name string, stage int, stages []instructions.Stage) error {
	i, ok := instructions.HasStage(stages, name)
	if n, err := strconv.Atoi(name); !ok && err == nil {
		if n > stage || n < 0 {
			return fmt.Errorf("invalid from flag value %s: index out of bounds", name)
		}
		i, ok = n, true
	}
	switch {
	case !ok || i < stage:
		return nil
	case i == stage:
		return fmt.Errorf("invalid from flag value %s: refers to current build stage", name)
	}
	return fmt.Errorf("invalid from flag value %s: refers to a later build stage", name)
}

func checkPorts(ports []string) error {
	for _, p := range ports {
		if strings.Contains(p, "$") {
			continue
		}
		numbers, proto, has := strings.Cut(p, "/")
		switch strings.ToLower(proto) {
		case "tcp", "udp", "sctp":
		default:
			if has {
				return fmt.Errorf("invalid proto: %s", proto)
			}
		}
		from, to, ranged := strings.Cut(numbers, "-")
		if !ranged {
			to = from
		}
		a, aerr := strconv.ParseUint(from, 10, 16)
		b, berr := strconv.ParseUint(to, 10, 16)
		if aerr != nil || berr != nil || b < a {
			return fmt.Errorf("invalid containerPort: %s", numbers)
		}
	}
	return nil
}
