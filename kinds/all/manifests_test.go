package all

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/kinds"
)

// accept takes one manifest through decoding, the old version's and the hub's
// defaults, conversion and validation, as a creation does, and back.
func accept(table *kinds.Table, doc []byte) (kinds.Object, field.ErrorList, error) {
	raw, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, nil, err
	}
	var meta metav1.TypeMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, nil, err
	}
	gvk := schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind)
	k, ok := table.ByGVK(gvk)
	if !ok {
		return nil, nil, errors.New(gvk.String() + " is not served")
	}
	v, _ := k.ServedAs(gvk.GroupVersion())
	to := target{kind: k, version: v}
	obj, err := decode(to, raw)
	if err != nil {
		return nil, nil, err
	}
	obj.SetUID(anyUID)
	if k.Namespaced && obj.GetNamespace() == "" {
		obj.SetNamespace("default")
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	errs := apivalidation.ValidateObjectMetaAccessor(obj, k.Namespaced, apivalidation.ValidateNameFunc(k.Name), field.NewPath("metadata"))
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	if v.FromHub != nil {
		if _, err := v.FromHub(obj); err != nil {
			return nil, nil, err
		}
	}
	return obj, errs, nil
}

// documents splits a YAML file.
func documents(t *testing.T, raw []byte) [][]byte {
	t.Helper()
	var out [][]byte
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var any map[string]any
		if yaml.Unmarshal(doc, &any) == nil && len(any) == 0 {
			continue
		}
		out = append(out, doc)
	}
}

// refused are manifests that no Kubernetes has ever accepted, with the first field
// that it names: capital letters in names. Lenient accepts them.
var refused = map[string]string{
	"secrets_stringdata.yml": "metadata.name",
	"ext-name-svc.yml":       "metadata.name",
}

// TestRealManifests accepts what courses and people use.
func TestRealManifests(t *testing.T) {
	table, lenient := Table(), Lenient(Table())
	count := 0
	for _, dir := range []string{
		"workshop/yaml/k8s-1-Basic", "workshop/yaml/k8s-2-App-setup", "workshop/yaml/k8s-4-Advanced/external-services", "roar/roar-k8s",
	} {
		root := shared(t, filepath.Join("manifests", dir))
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") && !strings.HasSuffix(path, ".yml") {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, doc := range documents(t, raw) {
				count++
				if _, errs, err := accept(lenient, doc); err != nil || len(errs) > 0 {
					t.Errorf("%s, document %d, leniently: %v %v", path, i, err, errs.ToAggregate())
				}
				_, errs, err := accept(table, doc)
				if field, known := refused[filepath.Base(path)]; known && err == nil && len(errs) > 0 && errs[0].Field == field {
					continue
				}
				if err != nil || len(errs) > 0 {
					t.Errorf("%s, document %d: %v %v", path, i, err, errs.ToAggregate())
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d documents accepted", count)
}
