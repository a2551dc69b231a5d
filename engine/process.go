package engine

import (
	"fmt"
	"regexp"
	"strings"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ProcessArgs is what a container executes. A Command replaces the image's
// entrypoint and drops its command; Args replace the command
// (https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/).
func ProcessArgs(spec *ContainerSpec, image *imagespec.ImageConfig) ([]string, error) {
	command, args := spec.Command, spec.Args
	if len(command) == 0 {
		command = image.Entrypoint
		if len(args) == 0 {
			args = image.Cmd
		}
	}
	out := make([]string, 0, len(command)+len(args))
	out = append(append(out, command...), args...)
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no command specified: neither the container nor its image names one", ErrInvalid)
	}
	return out, nil
}

// DefaultPath is the search path of a process whose image sets none.
const DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ProcessEnv merges environments; later ones win and keep the first's place.
func ProcessEnv(lists ...[]string) []string {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	out := make([]string, 0, n)
	at := make(map[string]int, n)
	for _, l := range lists {
		for _, kv := range l {
			k, _, _ := strings.Cut(kv, "=")
			if i, ok := at[k]; ok {
				out[i] = kv
				continue
			}
			at[k] = len(out)
			out = append(out, kv)
		}
	}
	return out
}

// StopSignal is the signal that asks a container to end.
func StopSignal(spec *ContainerSpec, image *imagespec.ImageConfig) string {
	switch {
	case spec.StopSignal != "":
		return spec.StopSignal
	case image != nil && image.StopSignal != "":
		return image.StopSignal
	}
	return "SIGTERM"
}

var (
	sandboxID   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	containerID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)
)

// ValidSandboxID and ValidContainerID guard ids: they become file names.
func ValidSandboxID(id string) error {
	if !sandboxID.MatchString(id) {
		return fmt.Errorf("%w: sandbox id %q", ErrInvalid, id)
	}
	return nil
}

// ValidContainerID guards a container's id.
func ValidContainerID(id string) error {
	if !containerID.MatchString(id) {
		return fmt.Errorf("%w: container id %q", ErrInvalid, id)
	}
	return nil
}

// HasLabels tells whether labels include all of want.
func HasLabels(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
