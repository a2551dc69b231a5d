package mem

import (
	"testing"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) func() store.Store {
		s := New()
		return func() store.Store {
			s = s.Reopen()
			return s
		}
	})
}
