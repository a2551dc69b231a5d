package etcd

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"skiff.dev/skiff/store"
)

// classify turns etcd's errors into the store's closed set, where they belong to
// it. op is what was being done.
func classify(op string, err error) error {
	// etcd's own are compared by their text: an in-process member and a remote one
	// give different values.
	switch {
	case is(err, rpctypes.ErrCompacted):
		return store.ErrCompacted
	case is(err, rpctypes.ErrFutureRev):
		return store.ErrFuture
	case is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: etcd's quota is used up (alarm NOSPACE): compact and defragment it, or raise --quota-backend-bytes, then: etcdctl alarm disarm", store.ErrNoSpace)
	case is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: etcd takes --max-txn-ops operations in one transaction, 128 if nothing else was said", store.ErrTooLarge)
	case is(err, rpctypes.ErrRequestTooLarge), tooLargeToSend(err):
		return fmt.Errorf("%w: etcd takes --max-request-bytes in one request, 1.5 MiB if nothing else was said", store.ErrTooLarge)
	}
	return fmt.Errorf("store: etcd: %s: %w", op, err)
}

func is(err, target error) bool {
	return errors.Is(err, target) || rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(target)
}

// tooLargeToSend is the refusal of the client's own side.
func tooLargeToSend(err error) bool {
	st, ok := status.FromError(err)
	return ok && st.Code() == codes.ResourceExhausted && !is(err, rpctypes.ErrNoSpace) && !is(err, rpctypes.ErrTooManyRequests)
}
