package builds

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
)

// stepAt finds the step that an error is of by the lines it carries.
func (p *plan) stepAt(err error) (int, bool) {
	for _, src := range errdefs.Sources(err) {
		for _, r := range src.Ranges {
			for i := range p.steps {
				if line := int(r.Start.Line); p.steps[i].first <= line && line <= p.steps[i].last {
					return i, true
				}
			}
		}
	}
	return 0, false
}

// adding finds the step that adds a URL of which an error tells.
func (p *plan) adding(text string) (int, bool) {
	for i := range p.steps {
		for _, f := range p.steps[i].files {
			if strings.Contains(f, "://") && strings.Contains(text, fmt.Sprintf("%q", f)) {
				return i, true
			}
		}
	}
	return 0, false
}

// Words of BuildKit's errors that have no types.
var (
	notFoundFile = regexp.MustCompile(`"/?([^"]*)": not found`)
	noFile       = regexp.MustCompile(`lstat /?(\S+): no such file or directory`)
	resolve      = regexp.MustCompile(`failed to resolve source metadata for (\S+): ((?s).*)`)
	noUser       = regexp.MustCompile(`unable to find user (\S+): (.*)`)
	noOwner      = regexp.MustCompile(`(?:invalid|unknown) (user|group)(?: index| name)?:? ?"?([^":]*)"?`)
	stat         = regexp.MustCompile(`exec: "([^"]*)": (stat [^\n]*|executable file[^\n]*|permission denied)`)
	crunExec     = regexp.MustCompile("executable file `([^`]*)` not found")
	download     = regexp.MustCompile(`(Get "[^"]*": .*)`)
)

// runtimeFailed is the run-up of what an OCI runtime says, as Docker words it.
const runtimeFailed = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: "

// classicError says what went wrong as the classic builder does, with the exit code
// of a command.
func classicError(s *step, err error) (int, error) {
	text := err.Error()
	if m := noUser.FindStringSubmatch(text); m != nil {
		return 0, errors.New("unable to find user " + m[1] + ": " + m[2])
	}
	switch s.kind {
	case run:
		var exit *gatewaypb.ExitError
		coded := errors.As(err, &exit)
		if m := stat.FindStringSubmatch(text); m != nil {
			return 0, fmt.Errorf("%sexec: %q: %s", runtimeFailed, m[1], m[2])
		}
		if m := crunExec.FindStringSubmatch(text); m != nil {
			return 0, fmt.Errorf("%sexec: %q: stat %s: no such file or directory", runtimeFailed, m[1], m[1])
		}
		if coded {
			code := int(exit.ExitCode)
			return code, fmt.Errorf("The command '%s' returned a non-zero code: %d", s.command, code) //lint:ignore ST1005 Docker's words
		}
	case copies:
		if e := copyError(s, text); e != nil {
			return 0, e
		}
	}
	if m := resolve.FindStringSubmatch(text); m != nil {
		e := fmt.Errorf("failed to resolve reference %q: %s", m[1], m[2])
		if s.kind == copies {
			e = fmt.Errorf("invalid from flag value %s: %w", fromFlag(s.text), e)
		}
		return 0, e
	}
	return 0, errors.New(strings.TrimPrefix(text, "failed to solve: "))
}

func fromFlag(text string) string {
	_, rest, _ := strings.Cut(text, "--from=")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

func copyError(s *step, text string) error {
	verb, _, _ := strings.Cut(s.text, " ")
	verb = strings.ToUpper(verb)
	if m := download.FindStringSubmatch(text); m != nil && verb == "ADD" && strings.Contains(s.text, "://") {
		return fmt.Errorf("ADD failed: %s", m[1])
	}
	if m := noOwner.FindStringSubmatch(text); m != nil {
		kind := m[1]
		id := map[string]string{"user": "uid", "group": "gid"}[kind]
		return fmt.Errorf("unable to convert uid/gid chown string to host mapping: can't find %s for %s %s: no such %s: %s", id, kind, m[2], kind, m[2])
	}
	m := notFoundFile.FindStringSubmatch(text)
	if m == nil {
		m = noFile.FindStringSubmatch(text)
	}
	if m == nil && strings.Contains(text, "no such file or directory") || m != nil && strings.ContainsAny(m[1], "*?[") {
		return fmt.Errorf("%s failed: no source files were specified", verb)
	}
	if m == nil {
		return nil
	}
	if strings.Contains(s.text, "--from=") {
		return fmt.Errorf("%s failed: stat %s: file does not exist", verb, m[1])
	}
	return fmt.Errorf("%s failed: file not found in build context or excluded by .dockerignore: stat %s: file does not exist", verb, m[1])
}
