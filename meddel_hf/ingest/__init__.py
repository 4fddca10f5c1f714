"""People's own files as one data set: pictures beside masks, videos, DICOM, NIfTI, slides."""
