package apiserver

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/apiserver/request"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// deleteOptions reads the options of a deletion from the body, else the query.
func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	data, err := c.readBody()
	if err != nil {
		return nil, err
	}
	o := &metav1.DeleteOptions{}
	if len(data) == 0 {
		if err := c.decodeQuery(o); err != nil {
			return nil, err
		}
	} else if err := c.decodeDeleteOptions(data, o); err != nil {
		return nil, err
	}
	o.IgnoreStoreReadErrorWithClusterBreakingPotential = nil
	o.TypeMeta = metav1.TypeMeta{}
	return o, invalidOptions("DeleteOptions", metav1validation.ValidateDeleteOptions(o))
}

func (c *call) decodeDeleteOptions(data []byte, o *metav1.DeleteOptions) error {
	media, err := request.Body(c.r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	have, _, err := codec.DecodeInto(media, data, o, codec.Ignore)
	if err != nil {
		if _, _, perr := codec.PeekType(media, data); perr != nil {
			err = perr
		}
		return apierrors.NewBadRequest(err.Error())
	}
	if have.Kind != "" && have.Kind != "DeleteOptions" {
		return apierrors.NewBadRequest(runtime.NewNotRegisteredErrForKind(schemeName, have).Error())
	}
	o.TypeMeta = metav1.TypeMeta{}
	c.auditSent(schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}, o)
	return nil
}

// delete answers DELETE of an object.
func (c *call) delete() {
	o, err := c.deleteOptions()
	if err != nil {
		c.fail(err)
		return
	}
	d, err := c.s.engine.Delete(c.ctx(), c.req(), o)
	if err != nil {
		c.fail(err)
		return
	}
	code := http.StatusOK
	//lint:ignore SA1019 old clients say it so
	if !d.Gone && o.OrphanDependents != nil && !*o.OrphanDependents {
		code = http.StatusAccepted
	}
	if returnsDeleted(d.Entry.Object) || !d.Gone && marked(d.Entry.Object, o) {
		c.entry(code, d.Entry)
		return
	}
	c.status(code, deletedStatus(c, d.Entry.Object))
}

// deletedStatus says what was deleted (registry/generic, finalizeDelete).
func deletedStatus(c *call, obj kinds.Object) *metav1.Status {
	group := c.kind.Group
	if c.version != nil {
		group = c.version.Group
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: obj.GetName(), Group: group, Kind: c.kind.Resource, UID: obj.GetUID()}}
}

// marked tells whether a deletion that waits is answered with the object.
func marked(kinds.Object, *metav1.DeleteOptions) bool { return true }

// returnsDeleted are the kinds whose deletion is answered with the object as it
// was (each registry's ReturnDeletedObject).
func returnsDeleted(obj kinds.Object) bool {
	switch obj.(type) {
	case *corev1.Pod, *corev1.Service, *corev1.ServiceAccount, *corev1.PersistentVolume, *corev1.PersistentVolumeClaim,
		*corev1.PodTemplate, *corev1.ResourceQuota,
		*resourcev1.DeviceClass, *resourcev1.ResourceClaim, *resourcev1.ResourceClaimTemplate, *resourcev1.ResourceSlice,
		*storagev1.CSIDriver, *storagev1.CSINode, *storagev1.StorageClass, *storagev1.VolumeAttachment, *storagev1.VolumeAttributesClass:
		return true
	}
	return false
}

// deleteCollection answers DELETE of a collection with what was deleted.
func (c *call) deleteCollection() {
	lo, sel, err := c.listOptions()
	if err != nil {
		c.fail(err)
		return
	}
	o, err := c.deleteOptions()
	if err != nil {
		c.fail(err)
		return
	}
	items, rev, err := c.s.engine.DeleteCollection(c.ctx(), c.req(), objects.Match(sel.matches), lo.Limit, o)
	if err != nil {
		c.fail(err)
		return
	}
	c.writePage(&page{items: items, revision: rev})
}
