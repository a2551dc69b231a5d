package admit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sort"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/node"
)

// NodeRestriction keeps a node's writes to itself and to the pods bound to it: what
// the node authorizer cannot see, because it is in the object.
type NodeRestriction struct {
	reader
	// Authorizer is asked whether a node may request tokens for an audience that its
	// pod does not name.
	Authorizer auth.Authorizer
}

// Name implements admission.Plugin.
func (*NodeRestriction) Name() string { return "NodeRestriction" }

// Admit implements admission.Mutator; it changes nothing.
func (n *NodeRestriction) Admit(ctx context.Context, r *admission.Request) error {
	name, ok := node.Identity(r.User)
	if !ok {
		return nil
	}
	if name == "" {
		return forbid(r, fmt.Errorf("could not determine node from user %q", r.User.Name))
	}
	err := n.judge(ctx, name, r)
	if err == nil || apierrors.IsNotFound(err) {
		return err
	}
	return forbid(r, err)
}

func (n *NodeRestriction) judge(ctx context.Context, name string, r *admission.Request) error {
	resource := r.Kind.Resource
	if r.Kind.Group != "" {
		resource += "." + r.Kind.Group
	}
	switch resource {
	case "pods":
		return n.pod(name, r)
	case "nodes":
		return ownNode(name, r)
	case "persistentvolumeclaims":
		if r.Subresource != "status" {
			return errors.New("may only update PVC status")
		}
		return claimStatus(name, r)
	case "serviceaccounts":
		return n.token(ctx, name, r)
	case "leases.coordination.k8s.io":
		if r.Namespace != "kube-node-lease" {
			return fmt.Errorf("can only access leases in the %q system namespace", "kube-node-lease")
		}
		if l, ok := r.Object.(*coordinationv1.Lease); r.Name != name && (!ok || r.Operation != admission.Create || l.Name != name) {
			return errors.New("can only access node lease with the same name as the requesting node")
		}
	case "csinodes.storage.k8s.io":
		if c, ok := r.Object.(*storagev1.CSINode); r.Name != name && (!ok || r.Operation != admission.Create || c.Name != name) {
			return errors.New("can only access CSINode with the same name as the requesting node")
		}
	case "resourceslices.resource.k8s.io":
		return ownSlice(name, r)
	}
	return nil
}

func ownSlice(name string, r *admission.Request) error {
	obj, verb := r.Object, "create"
	switch r.Operation {
	case admission.Create:
	case admission.Delete:
		obj, verb = r.Old, "delete"
	default:
		return nil
	}
	if s, ok := obj.(*resourcev1.ResourceSlice); !ok || s.Spec.NodeName == nil || *s.Spec.NodeName != name {
		return fmt.Errorf("can only %s ResourceSlice with the same NodeName as the requesting node", verb)
	}
	return nil
}

func (n *NodeRestriction) pod(name string, r *admission.Request) error {
	stored := func() (*v1.Pod, error) {
		if p, ok := r.Old.(*v1.Pod); ok {
			return p, nil
		}
		p, ok := find[*v1.Pod](n, pods, r.Namespace, r.Name)
		if !ok {
			return nil, apierrors.NewNotFound(v1.Resource("pods"), r.Name)
		}
		return p, nil
	}
	switch r.Subresource {
	case "":
		switch r.Operation {
		case admission.Create:
			p, ok := r.Object.(*v1.Pod)
			if !ok {
				return fmt.Errorf("unexpected type %T", r.Object)
			}
			return n.mirror(name, p)
		case admission.Delete:
			p, err := stored()
			if err == nil && p.Spec.NodeName != name {
				err = fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", name)
			}
			return err
		}
		return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", r.Operation, name)
	case "status":
		p, ok := r.Object.(*v1.Pod)
		old, err := stored()
		if err != nil || !ok {
			return err
		}
		switch {
		case old.Spec.NodeName != name:
			return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", name)
		case !maps.Equal(old.Labels, p.Labels):
			return fmt.Errorf("node %q cannot update labels through pod status", name)
		case !equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, p.Status.ResourceClaimStatuses):
			return fmt.Errorf("node %q cannot update resource claim statues", name)
		case !equality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, p.Status.ExtendedResourceClaimStatus):
			return fmt.Errorf("node %q cannot update extended resource claim status", name)
		}
		return nil
	case "eviction":
		p, err := stored()
		if err == nil && p.Spec.NodeName != name {
			err = fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", name)
		}
		return err
	}
	return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.Subresource)
}

// mirror judges a pod that a node creates: one that it runs from a file.
func (n *NodeRestriction) mirror(name string, p *v1.Pod) error {
	if !isMirror(p) {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", v1.MirrorPodAnnotationKey, name)
	}
	if p.Spec.NodeName != name {
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", name)
	}
	if len(p.OwnerReferences) > 1 {
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", name)
	}
	if len(p.OwnerReferences) == 0 {
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", name)
	}
	o := p.OwnerReferences[0]
	switch {
	case o.APIVersion != "v1" || o.Kind != "Node" || o.Name != name:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", name)
	case o.Controller == nil || !*o.Controller:
		return fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", name)
	case o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion:
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", name)
	}
	stored, ok := find[*v1.Node](n, nodes, "", name)
	if !ok {
		return apierrors.NewNotFound(v1.Resource("nodes"), name)
	}
	if o.UID != stored.UID {
		return fmt.Errorf("node %s UID mismatch: expected %s got %s", name, o.UID, stored.UID)
	}
	if what := apiReference(p); what != "" {
		return fmt.Errorf("node %q can not create pods that reference %s", name, what)
	}
	return nil
}

// apiReference names the first kind of API object that a pod needs; "" for none.
func apiReference(p *v1.Pod) string {
	if p.Spec.ServiceAccountName != "" {
		return "serviceaccounts"
	}
	if len(p.Spec.ImagePullSecrets) > 0 || eachSecret(p, func(string, string, string) error { return errors.New("found") }) != nil {
		return "secrets"
	}
	for _, c := range append(append([]v1.Container{}, p.Spec.InitContainers...), p.Spec.Containers...) {
		for i := range c.EnvFrom {
			if c.EnvFrom[i].ConfigMapRef != nil {
				return "configmaps"
			}
		}
		for i := range c.Env {
			if f := c.Env[i].ValueFrom; f != nil && f.ConfigMapKeyRef != nil {
				return "configmaps"
			}
		}
	}
	if len(p.Spec.ResourceClaims) > 0 {
		return "resourceclaims"
	}
	for i := range p.Spec.Volumes {
		if what := volumeReference(&p.Spec.Volumes[i]); what != "" {
			return what
		}
	}
	return ""
}

func volumeReference(v *v1.Volume) string {
	switch {
	case v.ConfigMap != nil:
		return "configmaps"
	case v.Secret != nil, v.AzureFile != nil:
		return "secrets"
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)"
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)"
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims"
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)"
	case v.Projected == nil:
		return ""
	}
	for _, s := range v.Projected.Sources {
		switch {
		case s.ConfigMap != nil:
			return "configmaps"
		case s.Secret != nil:
			return "secrets"
		case s.ServiceAccountToken != nil:
			return "serviceaccounts (via projected volumes)"
		case s.ClusterTrustBundle != nil:
			return "clustertrustbundles"
		case s.PodCertificate != nil:
			return "podcertificates"
		}
	}
	return ""
}

func claimStatus(name string, r *admission.Request) error {
	c, ok := r.Object.(*v1.PersistentVolumeClaim)
	old, ok2 := r.Old.(*v1.PersistentVolumeClaim)
	if r.Operation != admission.Update || !ok || !ok2 {
		return fmt.Errorf("unexpected operation %q", r.Operation)
	}
	plain := func(c *v1.PersistentVolumeClaim) *v1.PersistentVolumeClaim {
		c = c.DeepCopy()
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions, c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil, nil, nil
		return c
	}
	if !equality.Semantic.DeepEqual(plain(c), plain(old)) {
		return fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions", name)
	}
	return nil
}

// ownNode judges writes of Node objects.
func ownNode(name string, r *admission.Request) error {
	asked := r.Name
	n, _ := r.Object.(*v1.Node)
	if asked == "" && n != nil {
		asked = n.Name
	}
	if asked != name {
		return fmt.Errorf("node %q is not allowed to modify node %q", name, asked)
	}
	if n == nil {
		return nil
	}
	switch r.Operation {
	case admission.Create:
		//lint:ignore SA1019 the field is still there, and Kubernetes still refuses it
		if n.Spec.ConfigSource != nil {
			return fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", name)
		}
		if bad := forbiddenLabels(n.Labels, nil); len(bad) > 0 {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", name, strings.Join(bad, ", "))
		}
	case admission.Update:
		old, ok := r.Old.(*v1.Node)
		if !ok {
			return nil
		}
		//lint:ignore SA1019 the field is still there, and Kubernetes still refuses it
		if now, before := n.Spec.ConfigSource, old.Spec.ConfigSource; now != nil && !equality.Semantic.DeepEqual(now, before) {
			return fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", name)
		}
		switch {
		case !equality.Semantic.DeepEqual(n.Spec.Taints, old.Spec.Taints):
			return fmt.Errorf("node %q is not allowed to modify taints", name)
		case !equality.Semantic.DeepEqual(n.OwnerReferences, old.OwnerReferences):
			return fmt.Errorf("node %q is not allowed to modify ownerReferences", name)
		}
		if bad := forbiddenLabels(n.Labels, old.Labels); len(bad) > 0 {
			return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(bad, ", "))
		}
	}
	return nil
}

// nodeLabels are those of Kubernetes' own that a node may set on itself.
var nodeLabels = map[string]bool{
	v1.LabelHostname: true, v1.LabelTopologyZone: true, v1.LabelTopologyRegion: true, v1.LabelFailureDomainBetaZone: true,
	v1.LabelFailureDomainBetaRegion: true, v1.LabelInstanceType: true, v1.LabelInstanceTypeStable: true, v1.LabelOSStable: true,
	v1.LabelArchStable: true, "beta.kubernetes.io/os": true, "beta.kubernetes.io/arch": true,
}

// forbiddenLabels lists the labels that differ and that a node may not change: by
// them it could draw workloads to itself.
func forbiddenLabels(now, before map[string]string) []string {
	var out []string
	judge := func(key string) {
		ns, _, ok := strings.Cut(key, "/")
		under := func(suffix string) bool { return ok && (ns == suffix || strings.HasSuffix(ns, "."+suffix)) }
		own := nodeLabels[key] || under("kubelet.kubernetes.io") || under("node.kubernetes.io")
		if under(v1.LabelNamespaceNodeRestriction) || (under("kubernetes.io") || under("k8s.io")) && !own {
			out = append(out, key)
		}
	}
	for k, v := range now {
		if b, ok := before[k]; !ok || b != v {
			judge(k)
		}
	}
	for k := range before {
		if _, ok := now[k]; !ok {
			judge(k)
		}
	}
	sort.Strings(out)
	return out
}

// token judges a node's request for a service account's token: for a pod of its own.
func (n *NodeRestriction) token(ctx context.Context, name string, r *admission.Request) error {
	t, ok := r.View.(*authenticationv1.TokenRequest)
	if r.Operation != admission.Create || r.Subresource != "token" || !ok {
		return nil
	}
	ref := t.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return errors.New("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return errors.New("node requested token with a pod binding without a uid")
	}
	p, ok := find[*v1.Pod](n, pods, r.Namespace, ref.Name)
	if !ok {
		return apierrors.NewNotFound(v1.Resource("pods"), ref.Name)
	}
	if ref.UID != p.UID {
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if p.Spec.NodeName != name {
		return errors.New("node requested token bound to a pod scheduled on a different node")
	}
	return n.audience(ctx, r, t, p)
}

func (n *NodeRestriction) audience(ctx context.Context, r *admission.Request, t *authenticationv1.TokenRequest, p *v1.Pod) error {
	asked := ""
	switch len(t.Spec.Audiences) {
	case 0:
	case 1:
		asked = t.Spec.Audiences[0]
	default:
		return errors.New("node may only request 0 or 1 audiences")
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == asked {
					return nil
				}
			}
		}
		if n.driverAsks(p, v, asked) {
			return nil
		}
	}
	if n.Authorizer != nil {
		a := &auth.Attributes{User: r.User, Verb: "request-serviceaccounts-token-audience", Namespace: r.Namespace,
			Version: "v1", Resource: asked, Name: r.Name, IsResource: true}
		if d, _, _ := n.Authorizer.Authorize(ctx, a); d == auth.Allow {
			return nil
		}
	}
	return fmt.Errorf("audience %q not found in pod spec volume, %s is not authorized to request tokens for this audience", asked, r.User.Name)
}

// driverAsks tells whether the CSI driver behind a volume asks for tokens of an
// audience.
func (n *NodeRestriction) driverAsks(p *v1.Pod, v *v1.Volume, audience string) bool {
	driver, claim := "", ""
	switch {
	case v.CSI != nil:
		driver = v.CSI.Driver
	case v.PersistentVolumeClaim != nil:
		claim = v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		claim = p.Name + "-" + v.Name
	}
	if claim != "" {
		pvc, ok := find[*v1.PersistentVolumeClaim](n, gr("", "persistentvolumeclaims"), p.Namespace, claim)
		if !ok {
			return false
		}
		pv, ok := find[*v1.PersistentVolume](n, gr("", "persistentvolumes"), "", pvc.Spec.VolumeName)
		if !ok || pv.Spec.CSI == nil {
			return false
		}
		driver = pv.Spec.CSI.Driver
	}
	if driver == "" {
		return false
	}
	d, ok := find[*storagev1.CSIDriver](n, gr("storage.k8s.io", "csidrivers"), "", driver)
	if !ok {
		return false
	}
	for _, t := range d.Spec.TokenRequests {
		if t.Audience == audience {
			return true
		}
	}
	return false
}
