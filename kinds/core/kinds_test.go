package core

import (
	"testing"
	"time"

	"skiff.dev/skiff/kinds"
)

// TestRows holds what every row must have, so that readers of the table need no
// special cases.
func TestRows(t *testing.T) {
	table := kinds.NewTable(Kinds())
	for _, k := range table.All() {
		t.Run(k.Kind, func(t *testing.T) {
			obj := k.New()
			if k.Default != nil {
				k.Default(obj)
			}
			if k.PrepareCreate != nil {
				k.PrepareCreate(obj)
			}
			if k.Cells != nil {
				if got, want := len(k.Cells(obj, time.Unix(0, 0))), len(k.Columns); got != want {
					t.Errorf("%d cells for %d columns", got, want)
				}
			}
			for name, f := range k.Fields {
				f(obj)
				if name == "metadata.name" {
					t.Error("metadata.name is every kind's")
				}
			}
			if !k.Virtual && (k.Validate == nil || k.ValidateUpdate == nil || k.NewList == nil || k.Name == nil) {
				t.Error("a stored kind needs Validate, ValidateUpdate, NewList and Name")
			}
		})
	}
}
