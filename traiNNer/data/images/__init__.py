"""Image files: their headers, their pixels, what decoders remark, and resizing."""
