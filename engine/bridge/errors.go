package bridge

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Error is every error of this package that a client caused: Kind is one of
// errdefs' ErrNotFound, ErrInvalidArgument, ErrConflict, ErrPermissionDenied and
// ErrInternal, the text is Docker's own.
type Error struct {
	Kind    error
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

func notFound(format string, a ...any) error {
	return &Error{errdefs.ErrNotFound, fmt.Sprintf(format, a...)}
}

func invalid(format string, a ...any) error {
	return &Error{errdefs.ErrInvalidArgument, fmt.Sprintf(format, a...)}
}

func conflict(format string, a ...any) error {
	return &Error{errdefs.ErrConflict, fmt.Sprintf(format, a...)}
}

func forbidden(format string, a ...any) error {
	return &Error{errdefs.ErrPermissionDenied, fmt.Sprintf(format, a...)}
}

// failed is for what could not be done though it was asked for rightly.
func failed(format string, a ...any) error {
	return &Error{errdefs.ErrInternal, fmt.Sprintf(format, a...)}
}
