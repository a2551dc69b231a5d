package client_test

import (
	"net/http/httptest"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/client/clienttest"
)

// cask is a Go type of a caller's own for a custom kind.
type cask struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Litres int64 `json:"litres,omitempty"`
	} `json:"spec"`
	Status struct {
		Full bool `json:"full,omitempty"`
	} `json:"status"`
}

func (c *cask) DeepCopyObject() runtime.Object {
	out := *c
	c.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

type caskList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []cask `json:"items"`
}

func (l *caskList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = append([]cask(nil), l.Items...)
	return &out
}

const casks = `
metadata: {name: casks.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: casks, singular: cask, kind: cask, listKind: caskList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, properties: {
      spec: {type: object, properties: {litres: {type: integer, default: 10, maximum: 50}}},
      status: {type: object, properties: {full: {type: boolean}}}}}}
`

// TestCustomKinds: a caller's own types, maps and metadata of a kind that is defined
// at run time, in process and over HTTP.
func TestCustomKinds(t *testing.T) {
	types := clienttest.Scheme()
	gv := schema.GroupVersion{Group: "example.com", Version: "v1"}
	types.AddKnownTypes(gv, &cask{}, &caskList{})
	metav1.AddToGroupVersion(types, gv)
	if err := apiextensionsv1.AddToScheme(types); err != nil {
		t.Fatal(err)
	}
	for _, over := range []string{"process", "HTTP"} {
		t.Run(over, func(t *testing.T) {
			srv, _ := serve(t)
			var c crclient.WithWatch = client.NewInProcess(srv.InProcess(&auth.User{Name: "me", Groups: []string{auth.GroupMasters}}), types)
			d := &apiextensionsv1.CustomResourceDefinition{}
			if err := yaml.Unmarshal([]byte(casks), d); err != nil {
				t.Fatal(err)
			}
			if err := c.Create(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if len(d.Spec.Versions) != 1 || d.Spec.Versions[0].Schema == nil {
				t.Fatalf("the definition came back without its schema: %+v", d.Spec)
			}
			if over == "HTTP" {
				h := httptest.NewServer(srv.Handler())
				t.Cleanup(h.Close)
				r, err := client.NewRemote(&rest.Config{Host: h.URL}, types)
				if err != nil {
					t.Fatal(err)
				}
				c = r.Client
			}
			useCasks(t, c)
		})
	}
}

func useCasks(t *testing.T, c crclient.Client) {
	ctx := t.Context()
	x := &cask{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	if err := c.Create(ctx, x); err != nil || x.Spec.Litres != 10 || x.UID == "" {
		t.Fatal(x, err)
	}
	x.Spec.Litres = 60
	if err := c.Update(ctx, x); !apierrors.IsInvalid(err) {
		t.Fatal(err)
	}
	x.Spec.Litres = 20
	if err := c.Update(ctx, x); err != nil || x.Generation != 2 {
		t.Fatal(x, err)
	}
	x.Status.Full = true
	if err := c.Status().Update(ctx, x); err != nil || !x.Status.Full || x.Generation != 2 {
		t.Fatal(x, err)
	}
	if err := c.Patch(ctx, x, crclient.RawPatch("application/merge-patch+json", []byte(`{"spec":{"litres":30}}`))); err != nil || x.Spec.Litres != 30 {
		t.Fatal(x, err)
	}
	var got cask
	if err := c.Get(ctx, crclient.ObjectKeyFromObject(x), &got); err != nil || got.Spec.Litres != 30 || !got.Status.Full {
		t.Fatal(got, err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "cask"})
	if err := c.Get(ctx, crclient.ObjectKeyFromObject(x), u); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "litres"); n != 30 {
		t.Fatal(u.Object)
	}
	u.SetLabels(map[string]string{"a": "b"})
	if err := c.Update(ctx, u); err != nil {
		t.Fatal(err)
	}
	var list caskList
	if err := c.List(ctx, &list, crclient.InNamespace("default"), crclient.MatchingLabels{"a": "b"}); err != nil || len(list.Items) != 1 || list.Items[0].Spec.Litres != 30 {
		t.Fatal(list, err)
	}
	var part metav1.PartialObjectMetadataList
	part.SetGroupVersionKind(u.GroupVersionKind())
	if err := c.List(ctx, &part); err != nil || len(part.Items) != 1 || part.Items[0].Labels["a"] != "b" {
		t.Fatal(part, err)
	}
	m, err := c.RESTMapper().RESTMapping(schema.GroupKind{Group: "example.com", Kind: "cask"})
	if err != nil || m.Resource.Resource != "casks" || m.Scope.Name() != meta.RESTScopeNameNamespace {
		t.Fatal(m, err)
	}
	if err := c.Delete(ctx, x); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, crclient.ObjectKeyFromObject(x), &got); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}
