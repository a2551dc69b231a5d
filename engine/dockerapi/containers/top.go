package containers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) top(w http.ResponseWriter, r *route.Request) error {
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	v := a.view(c)
	switch {
	case !v.running:
		return notRunning(v.ID)
	case v.restarting:
		return route.Conflictf("container %s is restarting, wait until the container is running", v.ID)
	}
	pids, err := a.o.Engine.Processes(r.Context(), v.ID)
	if errors.Is(err, engine.ErrNotRun) {
		return notRunning(v.ID)
	}
	if err != nil {
		return err
	}
	args := strings.Fields(r.Form.Get("ps_args"))
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := ps(r.Context(), args)
	if err != nil {
		return err
	}
	top, err := parsePS(out, pids)
	if err != nil {
		return err
	}
	a.publish(c, events.ActionTop)
	return route.WriteJSON(w, http.StatusOK, top)
}

// ps asks the machine's own ps, whose columns people know.
func ps(ctx context.Context, args []string) (string, error) {
	out, err := exec.CommandContext(ctx, "ps", args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) && len(failed.Stderr) > 0 {
		first, _, _ := strings.Cut(strings.TrimSpace(string(failed.Stderr)), "\n")
		return "", route.Internalf("ps: %s", first)
	}
	if err != nil {
		return "", route.Internal(fmt.Errorf("ps: %w", err))
	}
	return string(out), nil
}

// parsePS takes the lines of the given processes out of ps's output.
func parsePS(text string, pids []int) (*container.TopResponse, error) {
	head, rest, _ := strings.Cut(text, "\n")
	out := &container.TopResponse{Titles: strings.Fields(head), Processes: [][]string{}}
	at := slices.Index(out.Titles, "PID")
	if at < 0 {
		return nil, route.Internalf("Couldn't find PID field in ps output")
	}
	for line := range strings.Lines(rest) {
		f := strings.Fields(line)
		if len(f) <= at {
			continue
		}
		pid, err := strconv.Atoi(f[at])
		if err != nil {
			return nil, route.Internal(docker("Unexpected pid '%s': %w", f[at], err))
		}
		if !slices.Contains(pids, pid) {
			continue
		}
		// The last column may have spaces in it.
		if n := len(out.Titles); len(f) > n {
			f = append(f[:n-1], strings.Join(f[n-1:], " "))
		}
		out.Processes = append(out.Processes, f)
	}
	return out, nil
}
