<?php
// An application of Debian's Laravel with nothing in it but what examples/receivers/laravel needs, which the tests copy here.

use App\Console\Kernel;
use Illuminate\Contracts;
use Illuminate\Foundation;

require 'Illuminate/autoload.php';
require 'GuzzleHttp/autoload.php';

spl_autoload_register(function (string $class): void {
    if (str_starts_with($class, 'App\\')) {
        require __DIR__ . '/../app/' . strtr(substr($class, strlen('App\\')), '\\', '/') . '.php';
    }
});

$app = new Foundation\Application(dirname(__DIR__));
$app->singleton(Contracts\Http\Kernel::class, Foundation\Http\Kernel::class);
$app->singleton(Contracts\Console\Kernel::class, Kernel::class);
$app->singleton(Contracts\Debug\ExceptionHandler::class, Foundation\Exceptions\Handler::class);

return $app;
