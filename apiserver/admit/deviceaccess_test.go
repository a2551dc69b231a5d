package admit

import (
	"context"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds/all"
)

// verbs allows requests by verb and subresource.
type verbs map[string]bool

func (v verbs) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	if v[a.Verb+" "+a.Subresource+" "+a.Namespace+"/"+a.Name] {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, "", nil
}

func TestDeviceAccess(t *testing.T) {
	kind, _ := all.Table().ByResource(gr("resource.k8s.io", "resourceclaims"))
	if kind == nil {
		t.Fatal("no kind of claims")
	}
	plain := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}
	special := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "special", Labels: map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}}}
	admin := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "c", AdminAccess: ptr.To(true)}}}}}}
	free, taken := &resourcev1.ResourceClaim{}, &resourcev1.ResourceClaim{}
	taken.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
		Results: []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: "d.example.org", Pool: "p", Device: "d"}}},
		NodeSelector: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchFields: []v1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: v1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}}
	reported := taken.DeepCopy()
	reported.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.example.org", Pool: "p", Device: "d"}}
	driver := &auth.User{Name: "system:serviceaccount:plain:driver", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}}}
	for name, c := range map[string]struct {
		namespace string
		op        admission.Operation
		obj, old  *resourcev1.ResourceClaim
		user      *auth.User
		may       verbs
		patch     bool
		want      string
	}{
		"an administrator's claim":         {namespace: "special", op: admission.Create, obj: admin},
		"in a namespace without the label": {namespace: "plain", op: admission.Create, obj: admin, want: "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires"},
		"allocated by the scheduler":       {namespace: "plain", op: admission.Update, obj: taken, old: free, may: verbs{"update binding /": true}},
		"allocated by another": {namespace: "plain", op: admission.Update, obj: taken, old: free,
			want: `status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: User "u" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope`},
		"told by a driver on the node": {namespace: "plain", op: admission.Update, obj: reported, old: taken, user: driver, may: verbs{"associated-node:update driver plain/d.example.org": true}},
		"told from elsewhere": {namespace: "plain", op: admission.Update, obj: reported, old: taken, may: verbs{"associated-node:update driver plain/d.example.org": true},
			want: `status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:update]" permission: `},
		"told by whom any node may":  {namespace: "plain", op: admission.Update, obj: reported, old: taken, may: verbs{"arbitrary-node:update driver plain/d.example.org": true}},
		"patched":                    {namespace: "plain", op: admission.Update, obj: reported, old: taken, patch: true, may: verbs{"arbitrary-node:patch driver plain/d.example.org": true}},
		"a status that is as it was": {namespace: "plain", op: admission.Update, obj: reported, old: reported},
	} {
		d := &DeviceAccess{Authorizer: c.may}
		d.SetReader(cluster{gr("", "namespaces"): {plain, special}})
		r := &admission.Request{Operation: c.op, Kind: kind, Namespace: c.namespace, Object: c.obj, User: c.user, Patch: c.patch}
		if r.User == nil {
			r.User = &auth.User{Name: "u"}
		}
		if c.old != nil {
			r.Old, r.Subresource = c.old, "status"
		}
		err := d.Validate(context.Background(), r)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}
