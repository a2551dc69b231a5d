package system

import (
	"context"
	"net/http"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/moby/moby/api/types/system"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// module is this program's.
const module = "skiff.dev/skiff"

// initProgram is what containers with an init of their own run first.
const initProgram = "docker-init"

// askTime bounds asking another program for its version.
const askTime = 5 * time.Second

// runtimeFacts is what other programs tell of themselves.
type runtimeFacts struct {
	name, version, commit     string            // of the OCI runtime
	status                    map[string]string // of it, for /info
	init, initVersion, initAt string            // commit, version and path of the init
}

// askRuntime asks the OCI runtime and the init what they are.
func (a *Area) askRuntime() runtimeFacts {
	f := runtimeFacts{name: a.o.Runtime, commit: unknown, init: unknown, status: map[string]string{}}
	if a.o.RuntimeVersion != "" {
		f.status["dev.skiff.runtime.version"] = a.o.RuntimeVersion
	}
	if out := a.run(a.o.RuntimePath, "--version"); out != "" {
		f.name, f.version, f.commit = parseRuntime(out)
	}
	// Not every runtime knows the command.
	if out := a.run(a.o.RuntimePath, "features"); strings.HasPrefix(out, "{") {
		f.status["org.opencontainers.runtime-spec.features"] = out
	}
	if path, err := exec.LookPath(initProgram); err == nil {
		f.initAt = path
		f.initVersion, f.init = parseInit(a.run(path, "--version"))
	}
	return f
}

func (a *Area) run(program string, args ...string) string {
	if program == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		a.o.Log.Debug("a program does not tell of itself", "program", program, "args", args, "err", err)
		return ""
	}
	return strings.TrimSpace(string(out))
}

// parseRuntime reads "runc version 1.1.5" and "commit: 1.1.5-0-gf19387a".
func parseRuntime(out string) (name, version, commit string) {
	commit = unknown
	for l := range strings.Lines(out) {
		l = strings.TrimSpace(l)
		if n, v, ok := strings.Cut(l, " version "); ok && version == "" {
			name, version = n, v
		} else if c, ok := strings.CutPrefix(l, "commit:"); ok {
			commit = strings.TrimSpace(c)
		}
	}
	return name, version, commit
}

// parseInit reads "tini version 0.19.0 - git.de40ad0".
func parseInit(out string) (version, commit string) {
	version, commit = "", unknown
	head, tail, _ := strings.Cut(out, " - ")
	if v, ok := strings.CutPrefix(strings.TrimSpace(head), "tini version "); ok {
		version = v
	}
	if c, ok := strings.CutPrefix(strings.TrimSpace(tail), "git."); ok {
		commit = c
	}
	return version, commit
}

// built is when and of which commit this program was made, as far as it is known.
func built() (commit, when string) {
	commit, when = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return commit, when
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(len(s.Value), 7)]
		case "vcs.time":
			when = s.Value
		}
	}
	return commit, when
}

func (a *Area) version(w http.ResponseWriter, _ *route.Request) error {
	kernel, facts := machine{"/"}.kernel(), a.runtime()
	commit, when := built()
	v := &system.VersionResponse{
		Version: a.o.Version, APIVersion: route.Version, MinAPIVersion: route.MinVersion,
		Os: runtime.GOOS, Arch: runtime.GOARCH,
		GitCommit: commit, GoVersion: runtime.Version(), KernelVersion: kernel, BuildTime: when,
		Components: []system.ComponentVersion{{
			Name: "Engine", Version: a.o.Version,
			Details: map[string]string{
				"GitCommit": commit, "ApiVersion": route.Version, "MinAPIVersion": route.MinVersion,
				"GoVersion": runtime.Version(), "Os": runtime.GOOS, "Arch": runtime.GOARCH, "BuildTime": when,
				"KernelVersion": kernel, "Module": module, "ModuleVersion": "v" + a.o.Version, "Experimental": "false",
			},
		}},
	}
	if facts.version != "" {
		v.Components = append(v.Components, component(facts.name, facts.version, facts.commit))
	}
	if facts.initAt != "" {
		v.Components = append(v.Components, component(initProgram, facts.initVersion, facts.init))
	}
	return route.WriteJSON(w, http.StatusOK, v)
}

func component(name, version, commit string) system.ComponentVersion {
	return system.ComponentVersion{Name: name, Version: version, Details: map[string]string{"GitCommit": commit}}
}
