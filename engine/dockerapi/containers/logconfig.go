package containers

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// Log drivers that there are.
const (
	logFile = "json-file"
	logNone = "none"
)

// fileOptions of json-file; those of how lines are handed on are every driver's.
var fileOptions = []string{"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"}

var handOnOptions = []string{"mode", "max-buffer-size"}

// checkLogs refuses log drivers that there are not, and options that they have not.
func checkLogs(l *container.LogConfig) error {
	kind := cmp.Or(l.Type, logFile)
	if kind == logNone {
		return nil
	}
	mode := container.LogMode(l.Config["mode"])
	switch mode {
	case container.LogModeBlocking, container.LogModeNonBlock, container.LogModeUnset:
	default:
		return route.Invalidf("logger: logging mode not supported: %s", mode)
	}
	if size, ok := l.Config["max-buffer-size"]; ok {
		if mode != container.LogModeNonBlock {
			return route.Invalidf("logger: max-buffer-size option is only supported with 'mode=%s'", container.LogModeNonBlock)
		}
		if _, err := units.RAMInBytes(size); err != nil {
			return route.Invalid(fmt.Errorf("error parsing option max-buffer-size: %w", err))
		}
	}
	if kind != logFile {
		return route.Invalidf("error looking up logging plugin %s: plugin %q not found", kind, kind)
	}
	for k := range l.Config {
		if !slices.Contains(handOnOptions, k) && !slices.Contains(fileOptions, k) {
			return route.Invalidf("unknown log opt '%s' for %s log driver", k, logFile)
		}
	}
	return nil
}

// fileLimits are the largest size of a log's file, 0 for none, and how many there
// are. Values that cannot be are told by the start of a container, not before.
func fileLimits(options map[string]string) (size int64, files int, err error) {
	fail := func(err error) (int64, int, error) {
		return 0, 0, route.Internal(fmt.Errorf(taskPreamble+"failed to initialize logging driver: %w", err))
	}
	if v, ok := options["max-size"]; ok && v != "-1" {
		if size, err = units.FromHumanSize(v); err != nil {
			return fail(err)
		}
		if size <= 0 {
			return fail(errors.New("max-size must be a positive number"))
		}
	}
	files = 1
	if v, ok := options["max-file"]; ok {
		if files, err = strconv.Atoi(v); err != nil {
			return fail(err)
		}
		if files < 1 {
			return fail(errors.New("max-file cannot be less than 1"))
		}
	}
	if v, ok := options["compress"]; ok {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return fail(err)
		}
		if on && (files == 1 || size == 0) {
			return fail(errors.New("compress cannot be true when max-file is less than 2 or max-size is not set"))
		}
	}
	for _, k := range []string{"labels-regex", "env-regex"} {
		if _, err := regexp.Compile(options[k]); err != nil {
			return fail(err)
		}
	}
	return size, files, nil
}
