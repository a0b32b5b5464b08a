"""Pallas kernels of jaxlearn, one folder per operation; needs only JAX.

Every folder holds the plain JAX definition (``reference.py``), one file per accelerator
(``pallas_tpu.py``, ``pallas_gpu.py``), the shapes that tests and benchmarks share
(``shapes.py``), a benchmark (``python -m jaxlearn_kernels.<op>.bench``) and, in its
``__init__.py``, the one public function that picks an implementation. What elementwise recurrences
over time share, how they are cut into blocks, is in ``time_blocks_tpu.py`` and
``time_blocks_gpu.py``.

Operations: :func:`jaxlearn_kernels.lif.lif`, leaky integrate-and-fire neurons over time;
:func:`jaxlearn_kernels.spmm.spmm`, sparse matrix times dense matrix with an epilogue;
:func:`jaxlearn_kernels.block_sparse.block_sparse_matmul`, a product that skips empty blocks;
:func:`jaxlearn_kernels.quadratic.quadratic`, a layer of quadratic neurons;
:func:`jaxlearn_kernels.wkv.wkv`, attention as a recurrence over time.
"""
