package route

import (
	"net/http"

	cerrdefs "github.com/containerd/errdefs"

	"skiff.dev/skiff/engine"
)

// Status is the HTTP status of an error: that of the outermost kind it has.
func Status(err error) int {
	for ; err != nil; err = inner(err) {
		if k, ok := err.(kinded); ok {
			return statusOf(k.kind)
		}
		if s := statusOf(err); s != 0 {
			return s
		}
	}
	return http.StatusInternalServerError
}

// inner is the error that err wraps; of several, the first that has a kind.
func inner(err error) error {
	switch x := err.(type) {
	case interface{ Unwrap() error }:
		return x.Unwrap()
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			if statusOf(e) != 0 || Status(e) != http.StatusInternalServerError {
				return e
			}
		}
	}
	return nil
}

var kinds = []struct {
	kind   error
	status int
}{
	{cerrdefs.ErrNotFound, http.StatusNotFound},
	{cerrdefs.ErrInvalidArgument, http.StatusBadRequest},
	{cerrdefs.ErrOutOfRange, http.StatusBadRequest},
	{cerrdefs.ErrConflict, http.StatusConflict},
	{cerrdefs.ErrAlreadyExists, http.StatusConflict},
	{cerrdefs.ErrFailedPrecondition, http.StatusPreconditionFailed},
	{cerrdefs.ErrUnauthenticated, http.StatusUnauthorized},
	{cerrdefs.ErrPermissionDenied, http.StatusForbidden},
	{cerrdefs.ErrNotModified, http.StatusNotModified},
	{cerrdefs.ErrNotImplemented, http.StatusNotImplemented},
	{cerrdefs.ErrUnavailable, http.StatusServiceUnavailable},
	{cerrdefs.ErrInternal, http.StatusInternalServerError},
	{engine.ErrNotFound, http.StatusNotFound},
	{engine.ErrInvalid, http.StatusBadRequest},
	{engine.ErrExists, http.StatusConflict},
	{engine.ErrRunning, http.StatusConflict},
	{engine.ErrNotRun, http.StatusConflict},
	{engine.ErrInUse, http.StatusConflict},
	{engine.ErrCorrupt, http.StatusInternalServerError},
	{engine.ErrNoSpace, http.StatusInternalServerError},
}

func statusOf(err error) int {
	for _, k := range kinds {
		if err == k.kind {
			return k.status
		}
	}
	if _, ok := err.(*http.MaxBytesError); ok {
		return http.StatusRequestEntityTooLarge
	}
	return 0
}
