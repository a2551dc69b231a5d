package loop

import (
	"context"
	"slices"

	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// HasFinalizer tells whether obj carries a finalizer.
func HasFinalizer(obj crclient.Object, finalizer string) bool {
	return slices.Contains(obj.GetFinalizers(), finalizer)
}

// SetFinalizer writes obj, which the caller owns, with a finalizer or without it;
// nothing is written when it is already so. An object that is gone is no error.
func SetFinalizer(ctx context.Context, c crclient.Client, obj crclient.Object, finalizer string, want bool) error {
	if HasFinalizer(obj, finalizer) == want {
		return nil
	}
	if want {
		obj.SetFinalizers(append(obj.GetFinalizers(), finalizer))
	} else {
		obj.SetFinalizers(slices.DeleteFunc(obj.GetFinalizers(), func(f string) bool { return f == finalizer }))
	}
	return crclient.IgnoreNotFound(c.Update(ctx, obj))
}
