package all

import (
	"encoding/json"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
)

// exercise runs every rule of a kind on an object as a client could have sent it.
// Rules may find fault with anything but must survive it.
func exercise(k *kinds.Kind, obj, old kinds.Object) {
	setDefaults(k, obj)
	setDefaults(k, old)
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	if k.Validate != nil {
		k.Validate(obj)
	}
	if k.PrepareUpdate != nil {
		k.PrepareUpdate(obj, old)
	}
	if k.Generation != nil {
		k.Generation(obj, old)
	}
	if k.ValidateUpdate != nil {
		k.ValidateUpdate(obj, old)
	}
	for _, s := range k.Subresources {
		if s.PrepareUpdate != nil {
			s.PrepareUpdate(obj, old)
		}
		if s.ValidateUpdate != nil {
			s.ValidateUpdate(obj, old)
		}
		if s.Get != nil {
			_, _ = s.Get(obj)
		}
	}
	if k.Cells != nil {
		k.Cells(obj, time.Unix(1e9, 0))
	}
	for _, f := range k.Fields {
		f(obj)
	}
}

// TestRulesSurviveAnything fills every kind with noise.
func TestRulesSurviveAnything(t *testing.T) {
	for _, k := range Table().All() {
		if k.Virtual || k.Group == "" {
			continue
		}
		t.Run(k.Group+"/"+k.Kind, func(t *testing.T) {
			for seed := range int64(40) {
				obj, old := k.New(), k.New()
				f := filler(seed)
				if seed > 0 { // nothing at all is noise too
					f.Fill(obj)
					f.Fill(old)
				}
				exercise(k, obj, old)
			}
		})
	}
}

// TestRowsAreWhole wants of every row what the server needs of it.
func TestRowsAreWhole(t *testing.T) {
	for _, k := range Table().All() {
		if k.Virtual {
			continue
		}
		if k.New == nil || k.NewList == nil || k.Name == nil && k.HasVerb("create") {
			t.Errorf("%s %s has no constructors or name rule", k.Group, k.Kind)
			continue
		}
		if len(k.Served) == 0 || k.Served[0].New != nil || k.Served[0].Version != k.Version {
			t.Errorf("%s %s does not serve its hub first", k.Group, k.Kind)
		}
		if k.Columns == nil != (k.Cells == nil) {
			t.Errorf("%s %s has columns without cells or cells without columns", k.Group, k.Kind)
			continue
		}
		obj := k.New()
		setDefaults(k, obj)
		if k.Cells == nil {
			continue
		}
		cells := k.Cells(obj, time.Unix(1e9, 0))
		if len(cells) != len(k.Columns) && k.Kind != "IPAddress" {
			t.Errorf("%s %s prints %d cells in %d columns", k.Group, k.Kind, len(cells), len(k.Columns))
		}
		for i, c := range k.Columns {
			if c.Description == "" && !(k.Kind == "RuntimeClass" && c.Name == "Handler") {
				t.Errorf("%s %s: column %s says nothing of itself", k.Group, k.Kind, c.Name)
			}
			if i < len(cells) {
				switch cells[i].(type) {
				case string, int64, bool:
				default:
					t.Errorf("%s %s: a cell of %s is %T", k.Group, k.Kind, c.Name, cells[i])
				}
			}
		}
	}
}

// FuzzManifest feeds bytes to everything that a posted object meets.
func FuzzManifest(f *testing.F) {
	for _, c := range fixtures {
		f.Add([]byte(c.manifest))
	}
	f.Add([]byte(`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"x"},"spec":{"schedule":"TZ=0 * * * * *","jobTemplate":{"spec":{"selector":{},"successPolicy":{"rules":[{"succeededIndexes":"1-"}]}}}}}`))
	f.Add([]byte(`{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"x","annotations":{"autoscaling.alpha.kubernetes.io/metrics":"[{\"type\":\"Object\"}]"}}}`))
	table := Table()
	f.Fuzz(func(t *testing.T, doc []byte) {
		obj, _, err := accept(table, doc)
		if err != nil {
			return
		}
		// What was accepted can be written and read again.
		raw, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		var meta metav1.PartialObjectMetadata
		if err := json.Unmarshal(raw, &meta); err != nil {
			t.Fatal(err)
		}
	})
}
